import { expect, test } from 'vitest'
import type { BoxSample, ServerSample } from '../sample.js'
import { box, server } from '../testing/samples.js'
import { columnsFor, lineOf, sparkline } from './columns.js'
import { addressOf, rowsOf, SORT_KEYS, Trends, type View } from './rows.js'

const view = (other: Partial<View> = {}): View => ({
  sort: 'anonymous',
  reversed: false,
  filter: '',
  expanded: new Set(),
  ...other
})
const names = (sample: BoxSample, other?: Partial<View>): string[] =>
  rowsOf(sample, view(other)).map(({ name }) => name)

const chat = server({ pid: 30, name: 'node chat.js', anonymous: 90e6, clients: 12, cpu: null })
const api = server({ pid: 10, name: 'node api.js', anonymous: 40e6, clients: 400, port: 8080 })
const proxy = server({ pid: 20, name: 'nginx', anonymous: 40e6, clients: null, unix: '/run/nginx.sock' })
const sample = box(chat, api, proxy)

test('sorts by figures from the largest, by names from the smallest, what is unknown last', () => {
  expect(names(sample)).toEqual(['node chat.js', 'node api.js', 'nginx'])
  expect(names(sample, { sort: 'clients' })).toEqual(['node api.js', 'node chat.js', 'nginx'])
  expect(names(sample, { sort: 'clients', reversed: true })).toEqual(['node chat.js', 'node api.js', 'nginx'])
  expect(names(sample, { sort: 'name' })).toEqual(['nginx', 'node api.js', 'node chat.js'])
  expect(names(sample, { sort: 'name', reversed: true })).toEqual(['node chat.js', 'node api.js', 'nginx'])
  expect(names(sample, { sort: 'address' })).toEqual(['node chat.js', 'node api.js', 'nginx'])
  for (const sort of SORT_KEYS) expect(names(sample, { sort })).toHaveLength(3)
})

test.each([
  ['API', ['node api.js']],
  ['node', ['node chat.js', 'node api.js']],
  [':80', ['node chat.js']],
  [':8080', ['node api.js']],
  ['20', ['nginx']],
  ['nginx.sock', ['nginx']],
  ['none', []]
])('filters by %j', (filter, expected) => {
  expect(names(sample, { filter })).toEqual(expected)
})

const cluster = server({ pid: 40, name: 'node cluster.js', workers: [41, 42] })

test('shows the processes of an expanded server below it', () => {
  const expanded = new Set([cluster.id, api.id])
  const rows = rowsOf(box(api, cluster), view({ expanded, sort: 'name' }))
  expect(rows.map(({ kind, pid }) => [kind, pid])).toEqual([
    ['server', 10],
    ['server', 40],
    ['process', 40],
    ['process', 41],
    ['process', 42]
  ])
  expect(rows[3]).toMatchObject({ clients: null, sincePeak: null, anonymous: 10e6 })
})

test('keeps the trends of servers that are present, and their latest samples', () => {
  const trends = new Trends()
  for (let i = 0; i < 130; i++) trends.add(box({ ...api, anonymous: i }, chat))
  expect(trends.of(api.id).slice(-2)).toEqual([128, 129])
  expect(trends.of(api.id)).toHaveLength(120)
  trends.add(box(chat))
  expect(trends.of(api.id)).toEqual([])
})

const line = (width: number, row: ServerSample): string => {
  const [first] = rowsOf(box(row), view())
  const columns = columnsFor(width)
  return first === undefined ? '' : lineOf(columns, (column) => column.text(first, { unicode: true }, column.width))
}

test('at 80 columns there is all but the trend, CPU and pressure', () => {
  expect(lineOf(columnsFor(80), ({ title }) => title)).toBe(
    'SERVER         PORT CLIENTS   ANON    RES RELEASED  xPRE RELS PAUSE PARKED AWAKE'
  )
  const full = server({
    pid: 4711,
    name: 'node a-very-long-name.js',
    anonymous: 1_234_560_000,
    resident: 2_000_000_000,
    clients: 1_234_567,
    port: 65_535,
    inside: { released: 43_210_000, releases: 1234, longestPause: 12.34, parked: 1_234_567, awake: 99 },
    sincePeak: { clients: 10_000, before: 10e6, ratio: 1.234 }
  })
  expect(line(80, full)).toBe('node a-ver…   65535    1.2M 1234.6 2000.0     43.2  1.23 1.2k    12   1.2M    99')
})

test.each([20, 40, 60, 79, 80, 100, 120, 300])('lines have exactly %i columns', (width) => {
  const titles = lineOf(columnsFor(width), ({ title }) => title)
  expect(line(width, api)).toHaveLength(width)
  expect(titles).toHaveLength(width)
  expect(titles.trimEnd()).toContain('SERVER')
})

test('a terminal of one column is not too narrow', () => {
  expect(columnsFor(1)).toEqual([])
  expect(lineOf(columnsFor(1), () => 'x')).toBe('')
})

test('names of other processes cannot write to the terminal', () => {
  expect(line(80, server({ pid: 1, name: '\x1b[2Jx' }))).toContain('\\x1b[2Jx')
})

test('marks servers of several processes, and addresses that do not fit', () => {
  expect(line(80, cluster)).toMatch(/^node cl… ▸3 /)
  expect(line(80, proxy)).toMatch(/^nginx {7}…x.sock /)
  const several = { ...api, listens: [...api.listens, ...proxy.listens] }
  expect(line(80, several)).toMatch(/^node api.js {2}8080\+1 /)
})

test('writes addresses as they are usually written', () => {
  expect(addressOf({ type: 'tcp', host: '0.0.0.0', port: 80 })).toBe('*:80')
  expect(addressOf({ type: 'tcp', host: '::1', port: 80 })).toBe('[::1]:80')
  expect(addressOf({ type: 'unix', path: '@x' })).toBe('@x')
})

test('a sparkline shows the latest values from 0 to the largest', () => {
  expect(sparkline([0, 50, 100], 8, true)).toBe('▁▅█')
  expect(sparkline([9, 0, 50, 100], 3, false)).toBe('_=#')
  expect(sparkline([], 3, true)).toBe('')
  expect(sparkline([0, 0], 3, true)).toBe('▁▁')
})
