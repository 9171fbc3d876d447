import { expect, test } from 'vitest'
import { parseTrace, readTrace } from './trace.js'

const parse = (text: string, options = {}) => parseTrace(text, 'trace.csv', options)

test('reads seconds, with and without a line that names the columns', () => {
  const levels = [
    { at: 0, connections: 10 },
    { at: 1000, connections: 20 },
    { at: 2500, connections: 0 }
  ]
  expect(parse('100,10\n101,20\n102.5,0\n')).toEqual(levels)
  expect(parse('time,connections\n100,10\n101,20\n102.5,0')).toEqual(levels)
  expect(parse('\ufeffHost,Connections,Time\r\na,10,100\r\nb,20,101\r\nc,0,102.5\r\n')).toEqual(levels)
})

test('reads dates, quoted cells and fractions', () => {
  const text = '"time","connections"\n"2026-03-14T09:00:00Z","1200.4"\n"2026-03-14T09:00:15Z","1340.6"\n'
  expect(parse(text)).toEqual([
    { at: 0, connections: 1200 },
    { at: 15_000, connections: 1341 }
  ])
})

test('a quoted cell may contain commas and quotes', () => {
  expect(parse('time,note,connections\n0,"a,5,b",10\n1," said ""c"", and d" ,20\n')).toEqual([
    { at: 0, connections: 10 },
    { at: 1000, connections: 20 }
  ])
})

test('reads dates as databases print them; dates without a zone are the same on every machine', () => {
  const zone = process.env.TZ
  // In this zone, clocks skip an hour in that night.
  process.env.TZ = 'Europe/Berlin'
  try {
    const text = '2026-03-29 01:30,1\n2026-03-29 02:30:00,2\n2026-03-29T03:30:00.000,3\n2026-03-29 06:30:00+02,4\n'
    expect(parse(text).map(({ at }) => at / 3_600_000)).toEqual([0, 1, 2, 3])
  } finally {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  }
})

test('applies speed and scale', () => {
  expect(parse('0,1000\n60,500\n', { speed: 60, scale: 0.1 })).toEqual([
    { at: 0, connections: 100 },
    { at: 1000, connections: 50 }
  ])
})

test('maxGap allows longer gaps', () => {
  expect(parse('0,1\n1,2\n2,3\n600,4\n', { maxGap: 600_000 }).at(-1)).toEqual({ at: 600_000, connections: 4 })
})

test.each([
  ['', /^trace\.csv:1: a trace has the columns time and connections/],
  ['when,who\n1,2\n', /^trace\.csv:1: .*, not "when,who"$/],
  ['time,connections\n', /^trace\.csv: a trace needs at least two rows, but there are 0$/],
  ['1,2\n', /there is 1$/],
  ['1,2\n2\n', /^trace\.csv:2: the number of connections is missing$/],
  ['1,2\n,3\n', /^trace\.csv:2: the time is missing$/],
  ['1,2\n\n3,4\n', /^trace\.csv:2: the time is missing$/],
  ['1,2\nsoon,3\n', /^trace\.csv:2: a time is .*, not "soon"$/],
  ['1,2\n2026-13-45,3\n', /^trace\.csv:2: a time is /],
  ['2026-02-28,2\n2026-02-30,3\n', /^trace\.csv:2: a time is .*, not "2026-02-30"$/],
  ['2026-02-28,2\n2026-03-01 (noon),3\n', /^trace\.csv:2: a time is /],
  ['1,2\n2,many\n', /^trace\.csv:2: connections are .*, not "many"$/],
  ['1,2\n2,-3\n', /^trace\.csv:2: connections are .*, not "-3"$/],
  ['1,2\n2,1e3\n', /^trace\.csv:2: connections are /],
  ['1,2\n2,10000001\n', /^trace\.csv:2: connections are /],
  ['time,connections\n5,1\n6,1\n4,1\n', /^trace\.csv:4: time goes backward/],
  ['5,1\n5,1\n', /^trace\.csv:2: the time is that of the row before/],
  [
    '0,1\n15,1\n30,1\n45,1\n200,1\n215,1\n',
    /^trace\.csv:5: a gap: 155 s after the row before, where 15 s is the median; /
  ]
])('rejects %j and names the line', (text, sentence) => {
  expect(() => parse(text)).toThrow(sentence)
})

test('rejects a gap that is longer than maxGap', () => {
  expect(() => parse('0,1\n1,2\n9,3\n', { maxGap: 5000 })).toThrow(/^trace\.csv:3: a gap: 8 s .* where 5 s are allowed/)
})

test('rejects a file that does not exist', () => {
  expect(() => readTrace('/no/such.csv')).toThrow(/ENOENT/)
})
