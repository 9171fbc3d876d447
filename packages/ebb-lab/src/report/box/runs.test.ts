import { expect, test } from 'vitest'
import type { BoxRecording } from '../../record/box/recording.js'
import { boxOf, end, inOrder, listening, run, sample, server, spikes } from '../testing/box.js'
import { reportBoxes } from './report.js'
import { medianBox, mergeBoxes } from './runs.js'
import { boxMarkdown, boxTable } from './table.js'
import { type BoxVerdict, boxVerdictToJson, judgeBox } from './verdict.js'

/** Returns a recording of a run of a box, whose servers keep a share of their spikes. */
function recorded(index: number, of: number, keeps: number): BoxRecording {
  const lines = [...spikes('plain', 0, 0, keeps), ...spikes('ebb', 20_000, 4, 0)]
  return boxOf([...lines, { type: 'end', t: 40_000, reason: 'done' }], { memory: 8e9, run: { index, of } })
}

const RUNS = [recorded(1, 3, 1), recorded(2, 3, 0.5), recorded(3, 3, 0.8)]

test('the runs of a box have one verdict for each variant, in any order of the recordings', async () => {
  const { boxes } = await reportBoxes(RUNS)
  const singles = RUNS.map((box) => judgeBox(box)[0] as BoxVerdict)
  const peaks = singles.map(({ peakOfSums }) => peakOfSums ?? 0).sort((a, b) => a - b)
  expect(boxes.map(({ name, runs }) => [name, runs])).toEqual([
    ['plain', 3],
    ['ebb', 3]
  ])
  expect(boxes[0]).toMatchObject({ peakOfSums: peaks[1], spread: { peakOfSums: { low: peaks[0], high: peaks[2] } } })
  expect(boxes[0]?.fit?.servers).toBe(Math.floor((8e9 * 4) / (peaks[1] ?? 1)))
  expect(boxes[0]?.servers[0]?.verdict).toMatchObject({ runs: 3 })
  expect((await reportBoxes(RUNS.toReversed())).boxes).toEqual(boxes)
  expect(medianBox(singles)).toBe(2)

  const text = boxTable(boxes)
  expect(text).toMatch(/^peak of sums .*MB.*\n {2}spread +\d+\.\d to \d+\.\d +same$/m)
  expect(text).toMatch(/^runs +3 +3$/m)
  expect(boxMarkdown(boxes)).toContain('| runs |')
  const json = JSON.parse(JSON.stringify(boxVerdictToJson(boxes[0] as BoxVerdict)))
  expect(json).toMatchObject({ runs: 3, spread: { gain: { low: expect.any(Number) } } })
})

test('recordings without a number are boxes of their own', async () => {
  const alone = RUNS.map(({ header: { run: _, ...header }, ...box }): BoxRecording => ({ ...box, header }))
  const { boxes } = await reportBoxes(alone)
  expect(boxes).toHaveLength(6)
  expect(boxes.some(({ runs }) => runs !== undefined)).toBe(false)
  expect(mergeBoxes([boxes[0] as BoxVerdict])).toBe(boxes[0])
})

test('a server that ended early in one run is named with the run, and failures are added up', () => {
  const verdicts = [null, 9].map((exitCode) => {
    const lines = [run(0, 'a'), server(0, 0, 's'), listening(0, 0), sample(10, 0, 10e6), end(2000, 0, exitCode)]
    const [verdict] = judgeBox(boxOf([...inOrder(lines), { type: 'end', t: 3000, reason: 'done' }]))
    return verdict as BoxVerdict
  }) as [BoxVerdict, BoxVerdict]
  const merged = mergeBoxes(verdicts)
  expect(merged.servers[0]).toMatchObject({
    state: 'ended',
    fate: 'Run 2 of 2: It ended with exit code 9 after 2.0 s.'
  })
  expect(merged.failures).toBe(verdicts[0].failures + verdicts[1].failures)
})
