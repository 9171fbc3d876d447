import { expect, test } from 'vitest'
import { findings, MB, part } from '../testing/findings.js'
import type { Findings } from './advice.js'
import { adviseOn } from './advise.js'

/** Returns findings about a program of a runtime whose memory is in one part. */
function held(name: Findings['runtime']['name'], kind: Parameters<typeof part>[0], given: Partial<Findings> = {}) {
  const runtime = { name, version: null, allocator: 'glibc' as const }
  return findings({ runtime, parts: [part(kind, 90 * MB, { mappings: 8 })], ...given })
}

function withSockets(count: Record<string, number>, given: object = {}): Partial<Findings> {
  const { descriptors } = findings()
  const sockets = { count, unread: 0, unsent: 0, withUnread: 0, withUnsent: 0, waiting: 0, ...given }
  return { descriptors: descriptors && { ...descriptors, sockets } }
}

const malloc = { heaps: 9, used: 10 * MB, free: 80 * MB, releasable: 70 * MB, tops: 0, unknown: 0 }
const cgroup = { version: 2 as const, folder: '/', used: 95 * MB, cache: 0, softLimit: null, killed: 0, pressure: 0 }
const trend = { over: 5000, from: 50 * MB, to: 60 * MB, lowest: 50 * MB, highest: 60 * MB, perMinute: 120 * MB, cpu: 0 }

const CASES: [code: string, found: Findings][] = [
  ['malloc-free', findings({ malloc })],
  ['malloc-tops', findings({ malloc: { ...malloc, releasable: 0, tops: 40 * MB } })],
  ['malloc-arenas', held('native', 'arenas', { malloc })],
  ['jemalloc-decay', held('native', 'blocks', { runtime: { name: 'native', version: null, allocator: 'jemalloc' } })],
  ['huge-pages', findings({ hugePages: { bytes: 60 * MB, empty: 50 * MB } })],
  ['lazy-free', findings({ memory: { ...findings().memory, lazy: 30 * MB } })],
  ['stacks', held('java', 'stacks')],
  ['shared-memory', held('native', 'shared')],
  ['mappings', findings({ mappings: { count: 60_000, limit: 65_530 } })],
  ['close-wait', findings(withSockets({ 'tcp CLOSE_WAIT': 30 }))],
  ['unread', findings(withSockets({}, { unread: 5 * MB, withUnread: 9 }))],
  ['unsent', findings(withSockets({}, { unsent: 5 * MB, withUnsent: 9 }))],
  ['descriptors', findings({ descriptors: { ...(findings().descriptors as object), open: 1000 } as never })],
  ['cgroup-limit', findings({ cgroup: { ...cgroup, limit: 100 * MB } })],
  ['swapped', findings({ memory: { ...findings().memory, swapped: 30 * MB } })],
  ['growth', findings({ trend })],
  ['node-heap', held('node', 'v8')],
  ['node-connections', held('node', 'file', withSockets({ 'tcp ESTABLISHED': 5000 }))],
  ['node-deflate', held('node', 'heap', withSockets({ 'tcp ESTABLISHED': 100 }))],
  ['go-heap', held('go', 'go')],
  ['java-heap', held('java', 'java')],
  ['java-zgc', findings({ parts: [part('shared', 90 * MB, { name: '/memfd:java_heap.1 (deleted)' })] })],
  ['dotnet-heap', held('dotnet', 'blocks')],
  ['python-arenas', held('python', 'blocks')],
  ['ruby-heap', held('ruby', 'heap')],
  ['deno-heap', held('deno', 'v8')],
  ['bun-heap', held('bun', 'blocks')]
]

test.each(CASES)('%s', (code, found) => {
  const advice = adviseOn(found).find((each) => each.code === code)
  expect(advice).toMatchObject({ source: expect.stringMatching(/^https:\/\//) })
  const { text = '', reason = '', figure } = advice ?? {}
  expect(text).toMatch(/\.$/)
  // The reason begins with the figure.
  const shown =
    figure?.unit === 'count' ? figure.value.toLocaleString('en-US') : ((figure?.value ?? 0) / 1e6).toFixed(1)
  expect(reason.startsWith(shown)).toBe(true)
})

test('there is no advice without a figure that is worth it', () => {
  expect(adviseOn(findings())).toEqual([])
  for (const [code, found] of CASES) {
    // The same program with 10 GB: none of the figures in bytes is a twentieth of it.
    const large = { ...found, memory: { ...found.memory, anonymous: 1e10 } }
    const given = adviseOn(large).filter(({ figure }) => figure.name.match(/^(parts|malloc|memory|hugePages)/))
    const rest = code === 'node-deflate' ? ['node-deflate'] : []
    expect(given.map(({ code }) => code)).toEqual(rest)
  }
})

test('memory that rises and falls does not grow', () => {
  const wave = { ...trend, to: 55 * MB, lowest: 40 * MB }
  expect(adviseOn(findings({ trend: wave }))).toEqual([])
})

test('some pages in a second are no growth', () => {
  const pages = { ...trend, over: 1000, to: trend.from + 40_000, highest: trend.from + 40_000, perMinute: 2.4 * MB }
  expect(adviseOn(findings({ trend: pages }))).toEqual([])
})

test('arenas that are in use are left alone', () => {
  const inUse = { ...malloc, used: 80 * MB, free: 10 * MB, releasable: 0 }
  expect(adviseOn(held('native', 'arenas', { malloc: inUse }))).toEqual([])
})

test('a process that has loaded ebb/auto is not told to load it', () => {
  const found = held('node', 'v8', { malloc })
  expect(adviseOn(found).map(({ code }) => code)).toEqual(['node-heap', 'malloc-free'])
  expect(adviseOn({ ...found, hasAuto: true })).toEqual([])
})

test('the advice with the largest figure comes first, counts come last', () => {
  const found = held('node', 'v8', {
    malloc,
    ...withSockets({ 'tcp CLOSE_WAIT': 30 }),
    trend: { ...trend, perMinute: 5e9 }
  })
  const codes = adviseOn(found).map(({ code }) => code)
  expect(codes).toEqual(['growth', 'node-heap', 'malloc-free', 'close-wait'])
})
