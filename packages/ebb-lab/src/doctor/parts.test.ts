import { expect, test } from 'vitest'
import type { Mapping } from './mappings.js'
import { type Sources, sortMappings } from './parts.js'
import type { ProcessRuntime } from './runtime.js'
import { mapping } from './testing/findings.js'

const KB = 1024
const MiB = 1024 * KB
const native: ProcessRuntime = { name: 'native', version: null, allocator: 'glibc' }

function sort(mappings: Mapping[], given: Partial<Sources> = {}) {
  const sorted = sortMappings({
    mappings: mappings.toSorted((a, b) => a.start - b.start),
    runtime: native,
    threads: [],
    pages: undefined,
    stackLimit: 8 * MiB,
    ...given
  })
  return { ...sorted, bytes: Object.fromEntries(sorted.parts.map(({ kind, bytes }) => [kind, bytes])) }
}

function runtime(name: ProcessRuntime['name']): Partial<Sources> {
  return { runtime: { ...native, name } }
}

test("V8's pages lie below 2^46 and are aligned; other mappings of Node are blocks", () => {
  const mappings = [
    mapping(0x1f51d00000, 256 * KB),
    mapping(0x2a0123f00000, 3 * MiB),
    mapping(0x3000_0004_0000, 64 * KB, { access: 'r-xp' }),
    mapping(0x7f98_d636_3000, 30 * MiB)
  ]
  expect(sort(mappings, runtime('node')).bytes).toEqual({
    v8: 256 * KB,
    'v8-large': 3 * MiB,
    code: 64 * KB,
    blocks: 30 * MiB
  })
  expect(sort(mappings).bytes).toEqual({ blocks: 33.25 * MiB, code: 64 * KB })
})

test('the heaps of Go and Java are known by their addresses', () => {
  expect(sort([mapping(0xc0_0000_0000, 64 * MiB)], runtime('go')).bytes).toEqual({ go: 64 * MiB })
  expect(sort([mapping(0xf380_0000, 200 * MiB)], runtime('java')).bytes).toEqual({ java: 200 * MiB })
})

test('an arena is known by the rest of its 64 MiB, which no access is allowed to', () => {
  const start = 0x7f0b_4400_0000
  const rest = mapping(start + MiB, 63 * MiB, { access: '---p' })
  expect(sort([mapping(start, MiB), rest]).bytes).toEqual({ arenas: MiB })
  expect(sort([mapping(start, MiB)]).bytes).toEqual({ blocks: MiB })
  const musl: Partial<Sources> = { runtime: { ...native, allocator: 'musl' } }
  expect(sort([mapping(start, MiB), rest], musl).bytes).toEqual({ blocks: MiB })
})

test('a block that lies below an arena may be one mapping with it', () => {
  const arena = 0x7f0b_4400_0000
  const both = mapping(arena - 3 * MiB, 4 * MiB)
  const rest = mapping(arena + MiB, 63 * MiB, { access: '---p' })
  expect(sort([both, rest]).bytes).toEqual({ arenas: MiB, blocks: 3 * MiB })
})

test('stacks are known by the stack pointer or by their size, behind a guard', () => {
  const at = (i: number): Mapping[] => {
    const start = 0x7f00_0000_0000 + i * 16 * MiB
    const guard = mapping(start - 4 * KB, 4 * KB, { access: '---p' })
    return [guard, mapping(start, 8 * MiB, { anonymous: 100 * KB })]
  }
  const threads = [{ tid: 7, name: 'worker', stack: 0x7f00_0000_0000 + 8 * MiB - 100 }]
  const { bytes, stacks } = sort([...at(0), ...at(1)], { threads })
  expect(bytes).toEqual({ stacks: 200 * KB })
  expect(stacks).toEqual([
    { tid: 7, name: 'worker', bytes: 100 * KB },
    { tid: null, name: null, bytes: 100 * KB }
  ])
})

test('a stack pointer in the heap of a runtime makes the heap no stack', () => {
  const threads = [{ tid: 7, name: 'g', stack: 0xc0_0000_1000 }]
  const guard = mapping(0xc0_0000_0000 - 4 * KB, 4 * KB, { access: '---p' })
  const heap = mapping(0xc0_0000_0000, 64 * MiB)
  expect(sort([guard, heap], { threads, ...runtime('go') }).bytes).toEqual({ go: 64 * MiB })
  // Without a guard below it, it is no stack either.
  expect(sort([heap], { threads }).bytes).toEqual({ blocks: 64 * MiB })
})

test('what is mapped above a stack is no part of it', () => {
  const start = 0x7f00_0000_0000
  const guard = mapping(start - 4 * KB, 4 * KB, { access: '---p' })
  const threads = [{ tid: 7, name: 'worker', stack: start + 100 }]
  const { bytes } = sort([guard, mapping(start, 80 * MiB)], { threads })
  expect(bytes).toEqual({ stacks: 8 * MiB, blocks: 72 * MiB })
})

test('written pages of files and the zeroed memory behind them are variables', () => {
  const file = { path: '/usr/lib/libc.so.6' }
  const { parts } = sort([
    mapping(0x5000_0000, MiB, { ...file, access: 'r-xp', anonymous: 0, resident: MiB }),
    mapping(0x5010_0000, 64 * KB, { ...file, anonymous: 16 * KB, resident: 64 * KB }),
    mapping(0x5011_0000, 128 * KB),
    mapping(0x6000_0000, 256 * KB)
  ])
  expect(parts).toMatchObject([
    { kind: 'file', group: 'file', name: '/usr/lib/libc.so.6', bytes: MiB + 48 * KB },
    { kind: 'blocks', bytes: 256 * KB },
    { kind: 'data', bytes: 144 * KB }
  ])
})

test('shared and named memory have a part for each name', () => {
  const shared = { access: 'rw-s', anonymous: 0 }
  const { parts } = sort([
    mapping(0x5000_0000, MiB, { ...shared, path: '/memfd:cache (deleted)', resident: MiB }),
    mapping(0x6000_0000, 2 * MiB, { ...shared, path: '/dev/shm/ring', resident: 2 * MiB }),
    mapping(0x7000_0000, 3 * MiB, { path: '[anon: Go: heap]' }),
    mapping(0x8000_0000, 4 * MiB, { path: '[anon: Go: heap]' })
  ])
  expect(parts).toMatchObject([
    { kind: 'named', name: 'Go: heap', bytes: 7 * MiB, mappings: 2 },
    { kind: 'shared', name: '/dev/shm/ring', bytes: 2 * MiB },
    { kind: 'shared', name: '/memfd:cache (deleted)', bytes: MiB }
  ])
})

test('parts of anonymous memory add up to it, whatever the mappings are', () => {
  const random = (seed: number): number => Math.abs(Math.sin(seed) * 1e4) % 1
  const mappings = Array.from({ length: 500 }, (_, i) => {
    const access = ['rw-p', '---p', 'r-xp', 'rwxp', 'rw-s'][Math.floor(random(i) * 5)] as string
    const path = ['', '', '', '[heap]', '/lib/a.so', '[anon:x]'][Math.floor(random(i + 1000) * 6)] as string
    return mapping(0x7000_0000_0000 + i * 32 * MiB, Math.ceil(random(i + 5) * 31) * MiB, { access, path })
  })
  const whole = mappings.reduce((sum, { anonymous }) => sum + anonymous, 0)
  for (const name of ['node', 'go', 'java', 'native'] as const) {
    const { parts } = sort(mappings, runtime(name))
    const sum = parts.reduce((sum, { group, bytes }) => sum + (group === 'anonymous' ? bytes : 0), 0)
    expect(sum).toBe(whole)
  }
})
