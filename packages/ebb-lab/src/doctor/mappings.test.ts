import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { ProcessView, readStat } from 'ebb/memory'
import { expect, onTestFinished, test } from 'vitest'
import { readMappings } from './mappings.js'

function fileOf(text: string): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-mappings-'))
  onTestFinished(() => fs.rmSync(folder, { recursive: true }))
  const file = path.join(folder, 'smaps')
  fs.writeFileSync(file, text)
  return file
}

test('the mappings of a process add up to its anonymous memory', async () => {
  // Still, so that both readings see the same.
  const child = spawn(process.execPath, ['-e', "process.kill(process.pid, 'SIGSTOP')"])
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'spawn')
  const view = new ProcessView(child.pid as number)
  onTestFinished(() => view.close())
  while (readStat(view.pid).state !== 'T') await wait(5)
  const sum = readMappings(view.pid).reduce((total, { anonymous }) => total + anonymous, 0)
  expect(Math.abs(sum / view.status().anonymous - 1)).toBeLessThan(0.1)
})

test('names, rights and figures are read, other lines are not', () => {
  const file = fileOf(`7f0b44000000-7f0b44108000 rw-p 00000000 00:00 0 
Size:               1056 kB
Rss:                1000 kB
Pss:                   1 kB
Anonymous:           900 kB
LazyFree:             40 kB
AnonHugePages:      2048 kB
ShmemPmdMapped:        7 kB
Shared_Hugetlb:     4096 kB
Private_Hugetlb:    2048 kB
Swap:                 12 kB
SwapPss:               3 kB
VmFlags: rd wr mr mw me ac 
7f0b45000000-7f0b45001000 r-xp 00001000 fe:00 260689                     /opt/my app/größe.so (deleted)
Rss:                   4 kB
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`)
  expect(readMappings(1, file)).toEqual([
    {
      start: 0x7f0b44000000,
      end: 0x7f0b44108000,
      access: 'rw-p',
      path: '',
      resident: 1000 * 1024,
      anonymous: 900 * 1024,
      huge: 2048 * 1024,
      lazy: 40 * 1024,
      swapped: 12 * 1024,
      reserved: 6144 * 1024
    },
    expect.objectContaining({ access: 'r-xp', path: '/opt/my app/größe.so (deleted)', resident: 4096 }),
    expect.objectContaining({ path: '[vsyscall]', resident: 0 })
  ])
})

test('100,000 mappings, of which some lines are longer than a read', () => {
  const long = `/${'x'.repeat(70_000)}`
  const lines = Array.from({ length: 100_000 }, (_, i) => {
    const start = 0x10000 + i * 8192
    const name = i % 50_000 === 7 ? long : '/lib/a.so'
    return `${start.toString(16)}-${(start + 4096).toString(16)} rw-p 00000000 00:00 0 ${name}\nRss: 4 kB\nAnonymous: 4 kB\n`
  })
  const mappings = readMappings(1, fileOf(lines.join('')))
  expect(mappings).toHaveLength(100_000)
  expect(mappings.reduce((sum, { anonymous }) => sum + anonymous, 0)).toBe(100_000 * 4096)
  expect(mappings.filter(({ path }) => path === long)).toHaveLength(2)
})
