import { describe, expect, test } from 'vitest'
import type { Recording } from '../record/recording.js'
import { headline } from './headline.js'
import { mergeRuns } from './runs.js'
import { table } from './table.js'
import { synthetic } from './testing/synthetic.js'
import { judge } from './verdict.js'
import { verdictToJson } from './verdict-json.js'
import { watched } from './watched.js'

/** Returns a recording without pulses, with a sample a second. */
function recordingOf(memory: readonly number[]): Recording {
  const { header, samples } = synthetic({ name: 'api' })
  const [sample] = samples
  if (sample === undefined) throw new Error('there is a sample')
  return {
    header: { ...header, output: false },
    samples: memory.map((anonymous, i) => ({ ...sample, t: i * 1000, anonymous })),
    events: [],
    complete: true,
    notes: []
  }
}

const RISING = Array.from({ length: 61 }, (_, i) => 20e6 + i * 0.1e6 + (i === 30 ? 50e6 : 0))
const STEADY = RISING.map((_, i) => 20e6 + (i % 2) * 0.3e6)

describe('watched', () => {
  test.each([
    ['rises, with a spike that does not matter', RISING, 6e6],
    ['falls', RISING.toReversed(), -6e6],
    ['is steady', STEADY, 0],
    ['one sample', [5e6], null],
    ['none', [], null]
  ])('%s', (_, memory, trend) => {
    const found = watched(recordingOf(memory).samples).trend
    if (trend === null) expect(found).toBeNull()
    else expect(found).toBeCloseTo(trend, -5)
  })

  test('an hour of samples takes no longer than a minute of them', () => {
    const { samples } = recordingOf(Array.from({ length: 36_000 }, (_, i) => 20e6 + i * 1e3))
    expect(watched(samples).trend).toBeCloseTo(60e3, -1)
  })
})

describe('a recording without pulses', () => {
  const rising = judge(recordingOf(RISING))

  test('has a peak, an end and a trend, and no row of dashes', () => {
    expect(rising).toMatchObject({ peak: 73e6, last: expect.closeTo(25.95e6, -4), rest: null, retention: null })
    const text = table([rising])
    expect(text).toMatch(/^peak +73\.0 MB\nat the end +2\d\.\d MB\ntrend +\+6\.0 MB\/min\nnotes/m)
    expect(text).not.toMatch(/ -$/m)
    expect(headline([rising])).toBe('api held 25.9 MB at the end, 73.0 MB at most, changing by +6.0 MB/min.')
    expect(headline([judge(recordingOf(STEADY))])).toMatch(/at most, steady\.$/)
    expect(rising.notes.map(({ code }) => code)).toEqual(['no-pulse', 'releases-unknown'])
    expect(verdictToJson(rising)).toMatchObject({ trend: 6_000_000, releaseReason: 'no-pulse' })
  })

  test('beside a server with pulses, all rows are there', () => {
    const text = table([rising, judge(synthetic(), synthetic({ role: 'control' }))])
    expect(text).toMatch(/^retention +- +✓ 1\.00$/m)
    expect(text).toMatch(/^trend +\+6\.0 MB\/min +-$/m)
  })

  test('several runs have the median of ends and trends', () => {
    const [one, two] = [20e6, 30e6].map((from) => judge(recordingOf(RISING.map((bytes) => bytes - 20e6 + from))))
    expect(mergeRuns([rising, one as typeof rising, two as typeof rising])).toMatchObject({
      runs: 3,
      last: rising.last
    })
  })
})
