import { describe, expect, test } from 'vitest'
import type { Recording } from '../record/recording.js'
import { memoryChart } from './charts/memory-chart.js'
import { headline } from './headline.js'
import { report } from './report.js'
import { noiseNotes, rowsFor } from './rows.js'
import { medianRun, mergeRuns } from './runs.js'
import { SPREAD_FIGURES } from './spread.js'
import { markdownTable, table } from './table.js'
import { type SyntheticOptions, synthetic } from './testing/synthetic.js'
import { judge, type Verdict } from './verdict.js'
import { verdictToJson } from './verdict-json.js'

const verdict = (changes: Partial<Verdict> = {}): Verdict => ({
  ...judge(synthetic(), synthetic({ role: 'control' })),
  ...changes
})

/** Returns recordings of several runs, main and control, with something different in each. */
function runs(name: string, each: SyntheticOptions[]): Recording[] {
  return each.flatMap((options, index) =>
    (['main', 'control'] as const).map((role) => {
      const recording = synthetic({ name, role, ...options })
      recording.header.run = { index: index + 1, of: each.length }
      return recording
    })
  )
}

describe('mergeRuns', () => {
  test('a single run stays as it is', () => {
    const one = verdict()
    expect(mergeRuns([one])).toBe(one)
  })

  test('figures are medians with their range; counts of connections are sums', () => {
    const merged = mergeRuns([
      verdict({ retention: 1.1, rest: 10e6, failed: 0, lost: 2, connects: 100, release: 500 }),
      verdict({ retention: 3, rest: 30e6, failed: 7, lost: 0, connects: 101, release: Number.POSITIVE_INFINITY }),
      verdict({ retention: 1.2, rest: null, failed: 0, lost: 0, connects: 102, release: 700 })
    ])
    expect(merged).toMatchObject({
      runs: 3,
      retention: 1.2,
      rest: 20e6,
      failed: 7,
      lost: 2,
      connects: 303,
      release: 700
    })
    expect(merged.spread).toMatchObject({
      retention: { low: 1.1, high: 3 },
      rest: { low: 10e6, high: 30e6 },
      release: { low: 500, high: Number.POSITIVE_INFINITY }
    })
    const json = JSON.parse(JSON.stringify(verdictToJson(merged)))
    expect(json).toMatchObject({ runs: 3, release: 700, spread: { release: { low: 500, high: null } } })
  })

  test('a figure that no run knows is null and has no range', () => {
    const unknown = Object.fromEntries(SPREAD_FIGURES.map((figure) => [figure, null])) as Partial<Verdict>
    const merged = mergeRuns([verdict(unknown), verdict(unknown)])
    expect(merged).toMatchObject(unknown)
    expect(merged.spread).toEqual({})
    expect(JSON.parse(JSON.stringify(verdictToJson(merged))).spread).toEqual({})
  })

  test('a note that does not apply to all runs says to which', () => {
    const note = (text: string) => ({ notes: [{ code: 'connects-failed', text }], missing: [text] })
    const none = { notes: [], missing: [] }
    const texts = (...each: Partial<Verdict>[]): string[] =>
      mergeRuns(each.map((changes) => verdict(changes)) as [Verdict, ...Verdict[]]).missing
    expect(texts(note('One failed.'), note('One failed.'))).toEqual(['One failed.'])
    expect(texts(none, note('One failed.'), none)).toEqual(['Run 2 of 3: One failed.'])
    expect(texts(none, note('One failed.'), note('Two failed.'))).toEqual(['2 of 3 runs, such as run 2: One failed.'])
  })

  test('the run that is shown is the one whose memory kept is the median', () => {
    expect(medianRun([verdict({ kept: 9 }), verdict({ kept: 1 }), verdict({ kept: 5 })])).toBe(2)
    expect(medianRun([verdict({ kept: null }), verdict({ kept: 1 })])).toBe(1)
  })
})

describe('a report on several runs', () => {
  const net = runs(
    'net',
    [{ keeps: 0.5 }, { keeps: 0.6 }, { keeps: 0.4 }].map((one) => ({ ...one, perConnection: 4000 }))
  )
  const ebb = runs('ebb', [{ rest: 8e6 }, { rest: 9e6 }, { rest: 8.5e6 }])
  const like = runs('like', [{ rest: 8.2e6 }, { rest: 8.9e6 }, { rest: 8.6e6 }])

  test('has one verdict for each server, in any order of the recordings', async () => {
    const { verdicts } = await report([...net, ...ebb])
    expect(verdicts.map(({ name, runs: count }) => [name, count])).toEqual([
      ['net', 3],
      ['ebb', 3]
    ])
    const shuffled = await report([...net, ...ebb].reverse())
    expect(shuffled.verdicts.toReversed()).toEqual(verdicts)
  })

  test('says which differences are noise', async () => {
    const { verdicts, notes } = await report([...ebb, ...like, ...net])
    expect(notes).toEqual([
      expect.stringMatching(
        /^The differences? between ebb and like in .*rest.* within the spread of the runs: noise\.$/
      ),
      ...noiseNotes(verdicts).slice(1)
    ])
    expect(notes.filter((note) => /and net in .*kept/.test(note))).toEqual([])
  })

  test('the table has the spread below each figure', async () => {
    const { verdicts } = await report(net)
    const [one] = verdicts as [Verdict]
    const lines = table(verdicts).split('\n')
    const { low, high } = one.spread?.kept ?? { low: 0, high: 0 }
    const at = lines.findIndex((line) => /^kept /.test(line))
    expect(lines[at + 1]).toMatch(new RegExp(`^  spread +${(low / 1e6).toFixed(1)} to ${(high / 1e6).toFixed(1)}$`))
    expect(lines.filter((line) => line.length > 80)).toEqual([])
    expect(lines).toContainEqual(expect.stringMatching(/^runs +3$/))
    expect(markdownTable(verdicts)).toContain(`(${(low / 1e6).toFixed(1)} to ${(high / 1e6).toFixed(1)})`)
  })

  test('a single run has no spread in the table', () => {
    const single = judge(synthetic(), synthetic({ role: 'control' }))
    expect(rowsFor([single]).filter(({ label }) => /spread|runs/.test(label))).toEqual([])
  })

  test('the headline says if what was kept is within the spread', () => {
    const [kept, need] = [
      { low: 9e6, high: 14e6 },
      { low: 8e6, high: 10e6 }
    ]
    const noisy = verdict({ name: 'a', kept: 12e6, need: 9e6, runs: 3, spread: { kept, need } })
    expect(headline([noisy])).toBe('a kept 3.0 MB more than it needs, which is within the spread of its 3 runs.')
    const clear = { ...noisy, spread: { kept: { low: 11e6, high: 14e6 }, need } }
    expect(headline([clear])).toBe('a kept 3.0 MB more than it needs.')
  })

  test('the picture has the figures of the table', async () => {
    const { verdicts } = await report(net)
    const [merged] = verdicts as [Verdict]
    const chart = memoryChart([{ recording: net[0] as Recording, control: null, verdict: merged, shown: 1 }])
    const text = JSON.stringify(chart.option)
    expect(text).toContain(`retention ${merged.retention?.toFixed(2)}`)
    expect(text).toContain('per connection · 3 runs')
  })

  test('a run without its control is left out if others have theirs', async () => {
    const { verdicts, notes } = await report(net.slice(0, -1))
    expect(verdicts).toMatchObject([{ runs: 2 }])
    expect(notes).toEqual(['One run on net is left out: it has no control, because it was interrupted.'])
    const alone = await report(net.slice(0, 1))
    expect(alone.verdicts[0]?.runs).toBeUndefined()
  })

  test('sameNameIsRun: recordings with one name are runs, wherever they come from', async () => {
    const apart = net.map((recording) => ({ ...recording, header: { ...recording.header } }))
    for (const { header } of apart) delete header.run
    expect((await report(apart.filter((_, i) => i % 2 === 0))).verdicts).toHaveLength(3)
    const { verdicts } = await report(
      apart.filter((_, i) => i % 2 === 0),
      { sameNameIsRun: true }
    )
    expect(verdicts).toMatchObject([{ name: 'net', runs: 3 }])
  })
})
