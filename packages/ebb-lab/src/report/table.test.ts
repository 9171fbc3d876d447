import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { textWidth } from '../units/text.js'
import { markdownTable, table } from './table.js'
import { sideBySide, synthetic } from './testing/synthetic.js'
import { judge, type Verdict } from './verdict.js'

const [ebb, ebbControl, net, netControl] = sideBySide() as [never, never, never, never]
const good = judge(ebb, ebbControl)
const bad = judge(net, netControl)
const alone = judge(synthetic({ name: 'alone', cycles: false }))

const named = (name: string, verdict: Verdict = good): Verdict => ({ ...verdict, name })

describe('table', () => {
  test('has a column for each server and a line for each figure', () => {
    const lines = table([good, bad]).split('\n')
    expect(lines[0]).toMatch(/^ +ebb serve +node:net$/)
    expect(lines.find((line) => line.startsWith('retention'))).toMatch(/^retention +✓ 1\.00 +✗ 4\.33$/)
    expect(lines.find((line) => line.startsWith('release time'))).toMatch(/✓ 0 s +✗ never$/)
    expect(lines.find((line) => line.startsWith('footprint'))).toMatch(/✓ 66 B +~ 5,917 B$/)
  })
  test('shows a missing figure as a dash, and the reason once below the table', () => {
    const text = table([named('a', alone), named('b', alone)])
    expect(text).toMatch(/^retention +- +-$/m)
    expect(text).toMatch(/^notes +\[1\] \[2\] +\[1\] \[2\]$/m)
    expect(text.match(/There is no control/g)).toHaveLength(1)
  })
  test('continues in a second block if the servers do not fit side by side', () => {
    const text = table(['one', 'two', 'three', 'four', 'five', 'six'].map((name) => named(name)))
    expect(text.match(/^retention/gm)).toHaveLength(2)
    for (const name of ['one', 'six']) expect(text).toContain(name)
  })
  test('has no line longer than the terminal and leaves out no server, whatever their names', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }), { minLength: 1, maxLength: 7 }),
        fc.integer({ min: 32, max: 140 }),
        fc.boolean(),
        (names, width, colour) => {
          const verdicts = names.map((name, index) => named(name, [good, bad, alone][index % 3]))
          const text = stripVTControlCharacters(table(verdicts, { width, colour }))
          for (const line of text.split('\n')) expect(textWidth(line)).toBeLessThanOrEqual(width)
          // The number of connections identifies each verdict in the table.
          expect(
            text
              .match(/^connections.*/gm)
              ?.join()
              .match(/34,000/g)
          ).toHaveLength(names.length)
        }
      )
    )
  })
  test('adds colours only if asked for, and changes nothing else', () => {
    expect(table([good, bad])).not.toContain('\x1b')
    const coloured = table([good, bad], { colour: true })
    expect(coloured).toContain('\x1b[32m✓ 1.00\x1b[0m')
    expect(coloured).toContain('\x1b[1;31m✗ 4.33\x1b[0m')
    expect(stripVTControlCharacters(coloured)).toBe(table([good, bad]))
  })
  test('spells out control characters in a name', () => {
    expect(table([named('\x1b]0;owned\x07\x1b[2J')]).replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
  })
  test('has a line for failed connections only if there are any', () => {
    expect(table([good])).not.toMatch(/^failed/m)
    expect(table([good, { ...bad, failed: 12 }])).toMatch(/^failed +0 +✗ 12$/m)
  })
  test('makes a table without servers', () => {
    expect(table([])).toBe('')
  })
})

describe('markdownTable', () => {
  test('has a line for each server', () => {
    const lines = markdownTable([good, bad]).split('\n')
    expect(lines[4]).toBe('')
    expect(lines[0]).toContain('holding 10,000')
    expect(lines[3]).toContain('| ❌ **4.33** | ❌ never |')
  })
  test('keeps a name within its cell', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (name) => {
        const lines = markdownTable([named(name)]).split('\n')
        expect(lines).toHaveLength(3)
        expect(lines[2]?.match(/(?<!\\)(?:\\\\)*\|/g)).toHaveLength(10)
        expect(lines[2]).not.toMatch(/<[a-z]/i)
      })
    )
  })
})
