import { expect, test } from 'vitest'
import { textWidth } from '../units/text.js'
import { adviseOn } from './advice/advise.js'
import { findings, MB, part } from './testing/findings.js'
import { diagnosisText } from './text.js'

/** Findings with every figure that there can be, and names that are longer than a line. */
const found = findings({
  name: `node ${'x'.repeat(100)}.js\u001b[31m`,
  runtime: { name: 'node', version: '26.1.0', allocator: 'glibc' },
  memory: { ...findings().memory, lazy: 2 * MB, swapped: 3 * MB, reserved: 4 * MB },
  parts: [
    part('v8', 60 * MB, { mappings: 240 }),
    part('arenas', 30 * MB, { mappings: 8 }),
    part('file', 12 * MB, { name: `/opt/${'directory/'.repeat(12)}node` }),
    part('file', 8 * MB, { name: '/lib/libc.so.6' }),
    part('blocks', 9 * MB),
    part('stacks', 0.5 * MB),
    part('data', 0.4 * MB)
  ],
  malloc: { heaps: 9, used: 10 * MB, free: 22 * MB, releasable: 20 * MB, tops: 3 * MB, unknown: MB },
  hugePages: { bytes: 10 * MB, empty: 9 * MB },
  descriptors: {
    open: 900,
    limit: 1000,
    kinds: Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`kind${i}`, 12 - i])),
    sockets: {
      count: { 'tcp ESTABLISHED': 300, 'tcp CLOSE_WAIT': 20, unix: 3 },
      unread: 2 * MB,
      unsent: 3 * MB,
      withUnread: 4,
      withUnsent: 5,
      waiting: 6
    }
  },
  cgroup: {
    version: 2,
    folder: `/sys/fs/cgroup/${'slice/'.repeat(20)}`,
    used: 140 * MB,
    cache: 20 * MB,
    limit: 150 * MB,
    softLimit: null,
    killed: 2,
    pressure: 0.07
  },
  trend: { over: 3000, from: 90 * MB, to: 100 * MB, lowest: 90 * MB, highest: 100 * MB, perMinute: 2e8, cpu: 50 },
  notes: ['the process is stopped: it runs on after SIGCONT']
})
const diagnosis = { ...found, advice: adviseOn(found) }

test('no line is wider than the terminal, except for addresses of pages', () => {
  for (const width of [40, 80, 120]) {
    const lines = diagnosisText(diagnosis, { width }).split('\n')
    const wide = lines.filter((line) => textWidth(line) > width && !line.includes('https://'))
    expect(wide).toEqual([])
  }
})

test('the largest part comes first, files are one part, and small parts are summed up', () => {
  const text = diagnosisText(diagnosis)
  const rows = [...text.matchAll(/^ +([\d.]+ MB) +(\d+) % {2}(.*)$/gm)].map(([, ...cells]) => cells)
  expect(rows).toEqual([
    ['60.0 MB', '50', "V8's heap: 240 regions of pages"],
    ['30.0 MB', '25', 'malloc: arenas of threads, 8 heaps'],
    ['20.0 MB', '17', 'files:'],
    ['9.0 MB', '8', 'mapped blocks: 1 region (buffers, WebAssembly, blocks of'],
    ['0.9 MB', '1', '2 smaller parts']
  ])
})

test('all other figures are below the table', () => {
  const text = diagnosisText(diagnosis, { width: 400 })
  for (const line of [
    'malloc        10.0 MB in use, 22.0 MB freed; malloc_trim(0) would return 20.0 MB, but not 3.0 MB at the ends of arenas; 1.0 MB could not be read',
    'huge pages    10.0 MB; about 9.0 MB of it holds only zeros',
    'lazily freed  2.0 MB: the kernel takes it when it needs it',
    'in swap       3.0 MB',
    'hugetlbfs     4.0 MB, not counted as resident',
    'page tables   0.5 MB for 40 mappings',
    'sockets       300 tcp ESTABLISHED, 20 tcp CLOSE_WAIT, 3 unix; 2.0 MB unread in 4 sockets; 3.0 MB unsent in 5 sockets; 6 connections not accepted yet',
    'trend         +200.0 MB a minute: 90.0 MB to 100.0 MB in 3.0 s, CPU 50.0 ms',
    'note          the process is stopped: it runs on after SIGCONT'
  ]) {
    expect(text.split('\n')).toContain(line)
  }
  expect(text).toMatch(/^descriptors {3}900 of 1,000: 12 kind0, .*, 5 kind7, 10 others$/m)
  expect(text).toMatch(
    /^cgroup {8}120\.0 MB used of 150\.0 MB; v2 .*; pressure 7\.0 % of the last 10 s; 2 processes killed/m
  )
  expect(text).toMatch(/^What to do\n1\. /m)
})

test('colours only if they are asked for, and nothing else of a name reaches the terminal', () => {
  expect(diagnosisText(diagnosis)).not.toContain('\u001b')
  expect(diagnosisText(diagnosis, { colour: true })).toContain('\u001b[1m')
})
