import { expect, test } from 'vitest'
import type { BoxSample } from '../sample.js'
import { box, server } from '../testing/samples.js'
import { frameOf, pageOf, type Size } from './frame.js'
import { type Row, rowsOf, Trends } from './rows.js'
import { initialState, press, type State, scrolled } from './state.js'

const start = initialState({ sort: 'anonymous', reversed: false, filter: '', expanded: new Set() })
const STYLE = { unicode: true }

/** A view of a box, as a person uses it. */
class Person {
  state: State = start
  action: string | null = null
  readonly #sample: BoxSample
  readonly #trends = new Trends()
  size: Size

  constructor(sample: BoxSample, size: Size = { width: 80, height: 24 }) {
    this.#sample = sample
    this.size = size
    this.#trends.add(sample)
  }

  get rows(): Row[] {
    return rowsOf(this.#sample, this.state.view, this.#trends)
  }

  press(...keys: string[]): this {
    for (const key of keys) [this.state, this.action] = press(this.state, key, this.rows, pageOf(this.size))
    return this
  }

  see(): string[] {
    this.state = scrolled(this.state, this.rows, pageOf(this.size))
    const frame = frameOf(this.#sample, this.rows, this.state, this.size, STYLE)
    return frame.map((line) => line.map(({ text }) => text).join(''))
  }

  looks(line: number): string[] {
    const frame = frameOf(this.#sample, this.rows, this.state, this.size, STYLE)
    return [...new Set(frame[line]?.map(({ look }) => look))]
  }

  get selected(): number | undefined {
    return this.rows.find(({ id }) => id === this.state.selected)?.pid
  }
}

const api = server({ pid: 10, name: 'node api.js', anonymous: 40e6, clients: 400, port: 8080 })
const chat = server({
  pid: 20,
  name: 'node chat.js',
  anonymous: 30e6,
  clients: 12,
  cpu: 0.031,
  inside: { released: 12e6, releases: 3, longestPause: 12.3, parked: 10, awake: 2 },
  sincePeak: { clients: 10_000, before: 10e6, ratio: 3 }
})
const cluster = server({ pid: 40, name: 'node cluster.js', anonymous: 20e6, workers: [41, 42] })
const many = box(...Array.from({ length: 40 }, (_, i) => server({ pid: 100 + i, name: `s${i}`, anonymous: 1e9 - i })))

test('fills 80 x 24: the box, titles, rows, details, keys', () => {
  const lines = new Person(box(api, chat)).press('DOWN', 'DOWN').see()
  expect(lines).toHaveLength(24)
  expect(lines[0]).toMatch(/^ebb top .* 2 servers {2}412 clients {2}5.0 of 8.0 GB available/)
  expect(lines[1]).toMatch(/^SERVER .* AWAKE$/)
  expect(lines[2]).toMatch(/^node api.js +8080 +400 +40.0 +50.0 +- +- +- +- +- +-$/)
  expect(lines[3]).toMatch(/^node chat.… +80 +12 +30.0 +50.0 +12.0 +3.00 +3 +12 +10 +2$/)
  expect(lines.slice(19, 23)).toEqual([
    'node chat.js (pid 20)  127.0.0.1:80',
    'anonymous 30.0 MB  3.00 x the 10.0 MB before the peak of 10,000 clients',
    'releases 3, returned 12.0 MB, longest pause 12.3 ms  parked 10, awake 2',
    'up to 30.0 MB █'
  ])
  expect(lines[23]).toBe('↑↓ select  Enter processes  s sort  r reverse  / filter  p pause  h help  q quit')
})

test.each([
  [80, 24],
  [200, 60],
  [40, 10],
  [20, 5],
  [10, 3],
  [1, 1]
])('fits into a terminal of %i x %i, also the help', (width, height) => {
  const person = new Person(many, { width, height }).press('DOWN')
  for (const lines of [person.see(), person.press('h').see()]) {
    expect(lines.length).toBeLessThanOrEqual(height)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(width)
  }
})

test('the help fits into 80 x 24 without breaking a line', () => {
  expect(new Person(many).press('?').see().at(-1)).toBe('Any key goes back.')
  expect(new Person(many).press('?', 'x').see()[1]).toMatch(/^SERVER/)
})

test('scrolls with the selection', () => {
  const person = new Person(many)
  const page = pageOf(person.size)
  expect(person.press('END').selected).toBe(139)
  expect(person.see()[1 + page]).toMatch(/^s39 /)
  expect(person.press('PAGE_UP').selected).toBe(139 - page)
  expect(person.press('HOME').see()[2]).toMatch(/^s0 /)
  expect(person.press('j', 'j', 'k').selected).toBe(101)
  // A terminal that became lower still shows the selected row.
  person.press('END').see()
  person.size = { width: 80, height: 10 }
  expect(person.see().some((line) => line.startsWith('s39 '))).toBe(true)
})

test('filters while the filter is typed', () => {
  const person = new Person(box(api, chat, cluster)).press('/', 'c', 'H', 'a')
  expect(person.rows.map(({ pid }) => pid)).toEqual([20])
  expect(person.see().at(-1)).toBe('filter: cHa_   Enter: keep  Esc: undo')
  expect(person.press('BACKSPACE', 'BACKSPACE').rows).toHaveLength(2)
  // `q` is a letter here, and keys with a name are none.
  expect(person.press('q', 'UP').state.view.filter).toBe('cq')
  expect(person.see()[2]).toBe('no server matches cq')
  expect(person.press('CTRL_U', 'x', 'ESCAPE').state.view.filter).toBe('')
  expect(person.press('/', 'x', 'ENTER').see().at(-1)).toMatch(/^Esc all \(filter: x\)/)
  expect(person.press('ESCAPE').rows).toHaveLength(3)
})

test('sorts by the next column and back, and the other way round', () => {
  const person = new Person(box(api, chat, cluster)).press('s')
  expect(person.state.view.sort).toBe('resident')
  expect(person.press('LEFT', '<', 'r').rows.map(({ pid }) => pid)).toEqual([40, 20, 10])
  expect(person.state.view).toMatchObject({ sort: 'clients', reversed: true })
  expect(person.press('LEFT', 'LEFT', 'LEFT', 'LEFT').state.view).toMatchObject({ sort: 'cpu', reversed: false })
})

test('shows the processes of the selected server, and hides them from one of them', () => {
  const person = new Person(box(api, cluster)).press('DOWN', 'DOWN', 'ENTER')
  expect(person.rows.map(({ pid }) => pid)).toEqual([10, 40, 40, 41, 42])
  expect(person.press('DOWN', 'DOWN').selected).toBe(41)
  expect(person.press(' ').rows.map(({ pid }) => pid)).toEqual([10, 40])
  expect(person.selected).toBe(40)
  // A server of one process has nothing to show.
  expect(person.press('UP', 'ENTER').rows).toHaveLength(2)
})

test('marks what is selected, sorted by, and much', () => {
  const person = new Person(box(api, chat)).press('DOWN')
  expect(person.looks(1)).toEqual(['titles', 'sorted'])
  expect(person.looks(2)).toEqual(['selected'])
  expect(person.looks(3)).toEqual(['plain', 'warning'])
})

test.each([
  ['q', 'quit'],
  ['CTRL_C', 'interrupt'],
  ['CTRL_Z', 'suspend'],
  ['CTRL_L', 'redraw'],
  ['x', null]
])('%s: %s', (key, action) => {
  expect(new Person(box(api)).press(key).action).toBe(action)
})

test('Ctrl-C quits while a filter is typed and in the help', () => {
  expect(new Person(box(api)).press('/', 'CTRL_C').action).toBe('interrupt')
  expect(new Person(box(api)).press('h', 'CTRL_C').action).toBe('interrupt')
})

test('a pause is shown', () => {
  expect(new Person(box(api)).press('p').see().at(-1)).toMatch(/^PAUSED .* p resume/)
})

test('an empty box says so', () => {
  expect(new Person(box()).press('DOWN', 'ENTER').see()[2]).toBe('no process that you may inspect listens')
})

test('names and filters cannot write to the terminal', () => {
  const person = new Person(box(server({ pid: 1, name: '\x1b[2J', unix: '/tmp/\x07' }))).press('DOWN', '/', '\x07')
  expect(person.see().join('')).not.toMatch(/\p{Cc}/u)
})
