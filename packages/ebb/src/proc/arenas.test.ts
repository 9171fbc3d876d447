import { expect, test } from 'vitest'
import { residentArenaBytes, residentBytes } from './arenas.js'

/** Mappings as the kernel prints them, with fewer lines each. */
function smaps(...mappings: [range: string, permissions: string, path: string, resident: number][]): string {
  return mappings
    .map(([range, permissions, path, resident]) =>
      [`${range} ${permissions} 00000000 00:00 0      ${path}`, 'Size: 132 kB', 'KernelPageSize: 4 kB']
        .concat(['MMUPageSize: 4 kB', `Rss:      ${resident} kB`, 'Pss: 0 kB', 'VmFlags: rd wr mr'])
        .join('\n')
    )
    .join('\n')
}

test('counts the main arena, and heaps that reserve 64 MB at a multiple of 64 MB', () => {
  const text = smaps(
    ['55550000-55572000', 'rw-p', '[heap]', 100],
    ['7f0000000000-7f0000021000', 'rw-p', '', 32],
    ['7f0000021000-7f0004000000', '---p', '', 0],
    // Aligned by chance: nothing is reserved behind it.
    ['7f0008000000-7f0008021000', 'rw-p', '', 64],
    ['7f000a000000-7f000a021000', 'r--p', '/usr/lib/x.so', 0]
  )
  expect(residentBytes(text)).toBe((100 + 32) * 1024)
  expect(residentBytes('')).toBe(0)
  expect(residentArenaBytes()).toBeGreaterThan(0)
})
