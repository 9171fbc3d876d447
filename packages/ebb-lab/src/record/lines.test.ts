import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type LineMark, LONGEST_TEXT, parseLine } from './lines.js'
import { LineSplitter, MOST_LINES } from './splitter.js'

describe('parseLine', () => {
  const count = fc.nat({ max: Number.MAX_SAFE_INTEGER })

  test('parses a Cycle line whatever the width of its numbers', () => {
    const figures = fc.record({
      cycle: count,
      clients: count,
      system: count,
      inuse: count,
      released: count,
      objects: fc.option(count)
    })
    fc.assert(
      fc.property(figures, fc.nat({ max: 12 }), fc.boolean(), (f, width, stamped) => {
        const pad = (value: number | null) => String(value ?? '-').padStart(width)
        const text = `${stamped ? '2024/02/03 04:05:06 ' : ''}Cycle #${pad(f.cycle)}: ${pad(f.clients)} clients | System: ${pad(f.system)} Inuse: ${pad(f.inuse)} Released: ${pad(f.released)} Objects: ${pad(f.objects)}`
        expect(parseLine(text)).toEqual({ event: 'cycle', ...f })
        expect(parseLine(JSON.stringify({ event: 'cycle', ...f }))).toEqual({ event: 'cycle', ...f })
      })
    )
  })

  test('parses the examples of the documentation', () => {
    expect(parseLine('Cycle #  1: 10000 clients | System: 5902336 Inuse: 5287312 Released: 0 Objects: -')).toEqual({
      event: 'cycle',
      cycle: 1,
      clients: 10_000,
      system: 5_902_336,
      inuse: 5_287_312,
      released: 0,
      objects: null
    })
    expect(parseLine('Release #  1: 9650176 -> 8511488 bytes in 12.3 ms (pause 8.1 ms)')).toEqual({
      event: 'release',
      before: 9_650_176,
      after: 8_511_488,
      ms: 12.3,
      pauseMs: 8.1
    })
    expect(parseLine('Release #2: 2 -> 1 bytes in 3 ms')).toMatchObject({ event: 'release', pauseMs: null })
    expect(parseLine('{"event":"release","before":2,"after":1,"ms":0.5,"pauseMs":null}')).toEqual({
      event: 'release',
      before: 2,
      after: 1,
      ms: 0.5,
      pauseMs: null
    })
  })

  test.each([
    '',
    'hello',
    'Cycle #1: many clients | System: 1 Inuse: 1 Released: 0 Objects: -',
    'Cycle #1: 99999999999999999999 clients | System: 1 Inuse: 1 Released: 0 Objects: -',
    'Cycle #1: 1 clients | System: -1 Inuse: 1 Released: 0 Objects: -',
    '{"event":"cycle","cycle":1}',
    '{"event":"cycle","cycle":1.5,"clients":1,"system":1,"inuse":1,"released":1}',
    '{"event":"release","before":1,"after":1,"ms":-1}',
    '{"event":"end","reason":"stopped"}',
    '{"half',
    '{}',
    '\u001b[31mred\u001b[0m\u0000'
  ])('keeps a line of no known format as text: %j', (text) => {
    expect(parseLine(text)).toEqual({ event: 'line', text })
  })

  test('cuts a line at 1,000 UTF-16 units, and never inside a character', () => {
    expect(parseLine('x'.repeat(1001))).toEqual({ event: 'line', text: 'x'.repeat(LONGEST_TEXT) })
    const mark = parseLine(`x${'🦀'.repeat(600)}`) as { text: string }
    expect(mark.text).toBe(`x${'🦀'.repeat(499)}`)
  })
})

describe('LineSplitter', () => {
  function split(chunks: Uint8Array[], now = () => 0): { marks: LineMark[]; dropped: number[] } {
    const marks: LineMark[] = []
    const dropped: number[] = []
    const splitter = new LineSplitter(
      (mark) => marks.push(mark),
      (lines) => dropped.push(lines),
      { now }
    )
    for (const chunk of chunks) splitter.push(chunk)
    splitter.end()
    return { marks, dropped }
  }

  test('returns the same lines for any division into chunks', () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 30 }).filter((text) => !/[\r\n]/.test(text))
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 20 }),
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        (lines, size, crlf) => {
          const bytes = Buffer.from(lines.map((text) => `${text}${crlf ? '\r' : ''}\n`).join(''))
          const chunks: Buffer[] = []
          for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size))
          expect(split(chunks).marks).toEqual(lines.map((text) => ({ event: 'line', text })))
        }
      )
    )
  })

  test('returns a last line without a newline at the end of the output', () => {
    expect(split([Buffer.from('a\nb')]).marks).toEqual([
      { event: 'line', text: 'a' },
      { event: 'line', text: 'b' }
    ])
    expect(split([Buffer.from('a\n')]).marks).toHaveLength(1)
  })

  test.each(['x', 'é', '漢', '🦀'])('keeps only the start of an endless line of %s', (character) => {
    const chunk = Buffer.from(character.repeat(50_000))
    const { marks } = split([...Array.from({ length: 20 }, () => chunk), Buffer.from('\nnext\n')])
    expect(marks).toEqual([
      { event: 'line', text: character.repeat(LONGEST_TEXT / character.length) },
      { event: 'line', text: 'next' }
    ])
  })

  test('replaces bytes that are not UTF-8', () => {
    const { marks } = split([Buffer.from([0x61, 0xff, 0x62, 0x0a])])
    expect(marks).toEqual([{ event: 'line', text: 'a\ufffdb' }])
  })

  test('leaves out and counts text above 1,000 lines per second, but no Cycle or Release line', () => {
    let now = 0
    const cycle = 'Cycle # 1: 7 clients | System: 1 Inuse: 1 Released: 0 Objects: -\n'
    const flood = Buffer.from(`${'noise\n'.repeat(5000)}Careless\n${cycle}`)
    const { marks, dropped } = split([flood, Buffer.from('')], () => now)
    expect(marks.filter((mark) => mark.event === 'line')).toHaveLength(MOST_LINES)
    expect(marks.at(-1)).toMatchObject({ event: 'cycle', clients: 7 })
    expect(dropped).toEqual([4001])

    const later = split([flood, flood], () => now++)
    expect(later.dropped.reduce((sum, lines) => sum + lines, 0) + later.marks.length).toBe(10_004)
    expect(split([Buffer.from(cycle.repeat(3000))]).marks).toHaveLength(MOST_LINES)
  })
})
