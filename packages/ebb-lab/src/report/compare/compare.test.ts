import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { textWidth } from '../../units/text.js'
import { HOSTILE } from '../testing/hostile.js'
import { synthetic } from '../testing/synthetic.js'
import { judge, type Verdict } from '../verdict.js'
import { type Comparison, compare, lacksRuns } from './compare.js'
import { comparisonToJson } from './json.js'
import { rankTest } from './rank-test.js'
import { comparisonMarkdown, comparisonTable } from './table.js'
import { methodOf, summaryOf, worseOf } from './words.js'

const VERDICT = judge(synthetic(), synthetic({ role: 'control' }))

/** Returns runs that differ in one figure. */
function runs(
  figure: keyof Verdict,
  values: readonly (number | null)[],
  name = 'net'
): { name: string; verdicts: Verdict[] } {
  return { name, verdicts: values.map((value) => ({ ...VERDICT, [figure]: value })) }
}

/** Returns what became of a figure. */
function changeOf(
  figure: keyof Verdict,
  now: readonly (number | null)[],
  before: readonly (number | null)[],
  threshold?: number
) {
  return compare(runs(figure, now), runs(figure, before), threshold).figures.find((one) => one.figure === figure)
}

describe('rankTest', () => {
  test.each([
    // The smallest p-values: 2 of the 70, and 2 of the 252 ways to choose one side.
    [[1, 2, 3, 4], [5, 6, 7, 8], 2 / 70],
    [[10, 11, 12, 13, 14], [5, 6, 7, 8, 9], 2 / 252],
    [[1, 1, 1, 1], [1, 1, 1, 1], 1],
    [[1, 3, 5, 7], [2, 4, 6, 8], 0.6857],
    [[1, 2, 3, 9], [4, 5, 6, 7, 8], 0.2857],
    [[400, 500, 300, 600], Array(4).fill(Number.POSITIVE_INFINITY), 2 / 70]
  ])('%j against %j: p = %d', (a, b, p) => {
    expect(rankTest(a, b)).toBeCloseTo(p, 4)
  })

  test('agrees with counting all ways to choose a side, also with ties', () => {
    const values = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(values, values, (a, b) => {
        const all = [...a, ...b]
        const below = (one: number): number => all.filter((other) => other < one).length
        const rank = (one: number): number => below(one) + (all.filter((other) => other === one).length + 1) / 2
        const mean = (a.length * (all.length + 1)) / 2
        const far = (indexes: number[]): number =>
          Math.abs(indexes.reduce((sum, i) => sum + rank(all[i] as number), 0) - mean)
        const sides = Array.from({ length: 2 ** all.length }, (_, bits) =>
          all.flatMap((_, i) => (bits & (1 << i) ? [i] : []))
        )
        const chosen = sides.filter(({ length }) => length === a.length).map(far)
        const own = far(a.map((_, i) => i))
        expect(rankTest(a, b)).toBeCloseTo(chosen.filter((one) => one >= own - 1e-9).length / chosen.length, 9)
      }),
      { numRuns: 50 }
    )
  })
})

describe('compare', () => {
  test('four runs or more: a rank test decides, and outliers do not', () => {
    expect(changeOf('peak', [30e6, 31e6, 32e6, 33e6], [20e6, 21e6, 22e6, 23e6])).toMatchObject({
      change: 'worse',
      before: 21.5e6,
      now: 31.5e6,
      relative: expect.closeTo(0.465, 3),
      p: expect.closeTo(2 / 70, 4)
    })
    expect(changeOf('peak', [20e6, 21e6, 22e6, 23e6], [30e6, 31e6, 32e6, 33e6])?.change).toBe('better')
    // The ranges overlap, and the medians differ by 30 %, but the ranks say noise.
    expect(changeOf('peak', [20e6, 26e6, 26e6, 40e6], [18e6, 20e6, 20e6, 39e6])?.change).toBe('noise')
    // One outlier of six does not hide the difference.
    expect(changeOf('peak', [30e6, 30e6, 30e6, 30e6, 30e6, 19e6], [20e6, 20e6, 20e6, 20e6, 20e6, 20e6])?.change).toBe(
      'worse'
    )
  })

  test('two or three runs: ranges that overlap are noise', () => {
    expect(changeOf('peak', [30e6, 31e6], [20e6, 21e6])).toMatchObject({ change: 'worse', p: null })
    expect(changeOf('peak', [30e6, 20e6], [20e6, 21e6])).toMatchObject({ change: 'noise' })
    expect(changeOf('peak', [30e6, 31e6, 32e6], [20e6, 21e6, 30e6, 20e6, 20e6])).toMatchObject({ change: 'noise' })
  })

  test('a single run: the noise is unknown, and it says so', () => {
    const comparison = compare(runs('peak', [30e6]), runs('peak', [20e6, 21e6, 22e6]))
    expect(comparison.figures.find(({ figure }) => figure === 'peak')).toMatchObject({ change: 'unknown', now: 30e6 })
    expect(lacksRuns(comparison)).toBe(true)
    expect(methodOf(comparison)).toContain('noise is unknown')
    expect(summaryOf(comparison)).toBe('net: peak differs, with unknown noise.')
    expect(worseOf(comparison, ['peak'])).toEqual([])
    expect(lacksRuns(compare(runs('peak', [20e6]), runs('peak', [20e6])))).toBe(false)
  })

  test('what is too small to matter is noise, whatever the runs say', () => {
    const far = [10e6, 10e6, 10e6, 10e6]
    expect(changeOf('peak', [10.4e6, 10.4e6, 10.4e6, 10.4e6], far)?.change).toBe('noise')
    expect(changeOf('peak', [10.6e6, 10.6e6, 10.6e6, 10.6e6], far)?.change).toBe('worse')
    expect(changeOf('peak', [10.6e6, 10.6e6, 10.6e6, 10.6e6], far, 0.1)?.change).toBe('noise')
    expect(changeOf('footprint', [-40, -41, -40, -41], [-10, -11, -10, -11])?.change).toBe('noise')
  })

  test('more connects per second are better; a release time may be never', () => {
    expect(changeOf('connectsPerSecond', [9000, 9000], [7000, 7000])?.change).toBe('better')
    const never = Number.POSITIVE_INFINITY
    expect(changeOf('release', [never, never], [400, 500])).toMatchObject({ change: 'worse', relative: null })
    expect(changeOf('release', [400, 500], [never, never])?.change).toBe('better')
    expect(changeOf('release', [never, never], [never, never])?.change).toBe('noise')
    const json = comparisonToJson(compare(runs('release', [never, never]), runs('release', [400, 500.123456])))
    expect(
      JSON.parse(JSON.stringify(json)).figures.find(({ figure }: { figure: string }) => figure === 'release')
    ).toEqual({
      figure: 'release',
      change: 'worse',
      before: 450.1,
      now: 'never',
      relative: null,
      p: null
    })
  })

  test('failures count if there are any; a figure that only one side knows is not known', () => {
    expect(changeOf('failed', [0, 0], [0, 0])).toBeUndefined()
    expect(changeOf('failed', [3, 2], [0, 0])?.change).toBe('worse')
    const comparison = compare(runs('retention', [null]), runs('retention', [1, 1]))
    expect(comparison.figures.find(({ figure }) => figure === 'retention')).toMatchObject({
      change: 'unknown',
      now: null
    })
    expect(comparisonTable([comparison])).toMatch(/^retention +1\.00 +- +\? not known$/m)
  })
})

const comparison = compare(runs('peak', [30e6, 31e6]), runs('peak', [20e6, 21e6], 'net before'))

test('in the terminal: a line for each figure, a summary, and the method', () => {
  const text = comparisonTable([comparison])
  expect(text).toMatch(/^net \(2 runs\) against net before \(2 runs\)$/m)
  expect(text).toMatch(/^peak +20\.5 MB +30\.5 MB +\+49 % {2}✗ worse$/m)
  expect(text).toMatch(/^retention +1\.00 +1\.00 +0 % {2}= within noise$/m)
  expect(text).toContain('net: peak is worse.')
  expect(text).toContain('With 4 runs or more on each side')
  expect(worseOf(comparison, ['peak'])).toEqual(['net: peak is worse: 30.5 MB, before 20.5 MB (+49 %).'])
  expect(worseOf(comparison, ['rest'])).toEqual([])
})

test('no line is longer than the terminal, whatever the name', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), fc.integer({ min: 32, max: 120 }), (name, width) => {
      for (const line of comparisonTable([{ ...comparison, name }], { width }).split('\n')) {
        expect(textWidth(line)).toBeLessThanOrEqual(width)
      }
    })
  )
})

test('Markdown keeps hostile names out of tags and cells', () => {
  for (const name of HOSTILE) {
    const hostile: Comparison = { ...comparison, name: `${name}|x\n# y`, against: name }
    const text = comparisonMarkdown([hostile])
    expect(text).not.toMatch(/<[a-z/]/i)
    expect(text).not.toMatch(/^# /m)
    for (const line of text.split('\n').filter((one) => one.startsWith('|'))) {
      expect(line.match(/(?<!\\)(?:\\\\)*\|/g)).toHaveLength(6)
    }
  }
})
