import { describe, expect, test } from 'vitest'
import type { BoxRun } from '../../record/box/recording.js'
import {
  boxOf,
  end,
  inOrder,
  listening,
  pulse,
  type Rest,
  run,
  sample,
  server,
  spikes,
  twoVariants
} from '../testing/box.js'
import { stackOf } from './stack.js'
import { brokenBoxes, judgeBox } from './verdict.js'

const first = (lines: readonly Rest[]): BoxRun => boxOf(lines).runs[0] as BoxRun
const FLOODED = 'It prints too many lines per second, so its output is recorded only in part.'

const begin = [run(0, 'x'), server(0, 0, 'a'), listening(0, 0), server(0, 1, 'b'), listening(0, 1)]

describe('stackOf', () => {
  test('adds anonymous memory and the part of file pages, interpolated between two measurements', () => {
    const lines = [
      ...begin,
      ...[0, 100, 200, 300, 400].flatMap((t) => [
        sample(t, 0, 1000 + t, t === 0 ? 1500 : t === 400 ? 1400 + 900 : null),
        sample(t, 1, 5000, t === 0 ? 5100 : null)
      ])
    ]
    // The first server's part of file pages rises from 500 to 900. The second server's part was measured once.
    expect(stackOf(first(lines))).toEqual([
      { t: 0, parts: [1500, 5100], sum: 6600 },
      { t: 100, parts: [1700, 5100], sum: 6800 },
      { t: 200, parts: [1900, 5100], sum: 7000 },
      { t: 300, parts: [2100, 5100], sum: 7200 },
      { t: 400, parts: [2300, 5100], sum: 7400 }
    ])
  })

  test('counts a server with 0 before it listens and after it has ended', () => {
    const lines = [
      ...begin,
      sample(0, 0, 10, 10),
      sample(100, 0, 20, 20),
      sample(100, 1, 500, 500),
      end(150, 0, 1),
      sample(200, 1, 600, 600),
      end(300, 1)
    ]
    expect(stackOf(first(lines)).map(({ t, parts }) => [t, ...parts])).toEqual([
      [0, 10, 0],
      [100, 20, 500],
      [150, 0, 500],
      [200, 0, 600]
    ])
  })

  test('ignores parts of file pages that were measured before all servers listened', () => {
    const lines = [
      ...begin,
      // Before the other server listens, this server has all 400 bytes of the shared pages.
      sample(0, 0, 10, 410),
      sample(100, 0, 11),
      sample(200, 0, 12, 212),
      sample(200, 1, 500, 700)
    ]
    expect(stackOf(first(lines)).map(({ t, parts }) => [t, ...parts])).toEqual([
      [0, 210, 0],
      [100, 211, 0],
      [200, 212, 700]
    ])
    // A server that ended before the other listened has only the earlier measurement.
    const [gone] = stackOf(first([...begin, sample(0, 0, 10, 410), end(50, 0, 1), sample(200, 1, 500, 900)]))
    expect(gone?.parts).toEqual([410, 0])
  })

  test('ends a server at the first sample of the machine without it if nobody reported how it ended', () => {
    const machine = [0, 100, 200, 2100].map((t): Rest => ({ type: 'machine', t, kernel: 0, group: null }))
    const lines = inOrder([
      ...begin,
      ...machine,
      sample(0, 0, 10, 10),
      sample(100, 0, 20, 20),
      ...[0, 100, 200, 2100].map((t) => sample(t, 1, 500, 500)),
      { type: 'event', t: 2100, server: 0, event: 'end', reason: 'exited', exitCode: null, signal: null },
      { type: 'end', t: 2200, reason: 'done' }
    ])
    expect(stackOf(first(lines)).map(({ t, parts }) => [t, ...parts])).toEqual([
      [0, 10, 500],
      [100, 20, 500],
      [200, 0, 500],
      [2100, 0, 500]
    ])
    expect(judgeBox(boxOf(lines))[0]?.servers[0]?.fate).toBe('It ended after 0.2 s.')
  })

  test('uses PSS if file pages could not be measured, and all file pages if PSS is not known either', () => {
    const pss = { ...sample(0, 0, 1000), proportional: 1800 } as Rest
    expect(stackOf(first([...begin, pss, sample(100, 0, 2000)]))).toMatchObject([{ sum: 1800 }, { sum: 2800 }])
    expect(stackOf(first([...begin, sample(0, 0, 1000)]))).toMatchObject([{ sum: 1000 + 40e6 }])
  })
})

describe('judgeBox', () => {
  test('compares servers that keep the memory of a spike with servers that release it', () => {
    const [plain, ebb] = judgeBox(twoVariants())
    // Each server takes 20 MB at rest, and 60 MB more in a spike.
    expect(plain).toMatchObject({
      name: 'plain',
      rest: 80e6,
      peakOfSums: 320e6,
      sumOfPeaks: 320e6,
      gain: 1,
      failures: 0
    })
    expect(plain?.peakAt).toBe(10_000)
    expect(ebb).toMatchObject({ name: 'ebb', rest: 80e6, peakOfSums: 140e6, sumOfPeaks: 320e6, failures: 0 })
    expect(ebb?.gain).toBeCloseTo(320 / 140, 12)
    // In 8 GB, a server that keeps its memory takes 80 MB. A server that releases it takes 35 MB if peaks are spread.
    expect(plain?.fit).toEqual({ memory: 8e9, servers: 100, more: 96, unspread: 100 })
    expect(ebb?.fit).toEqual({ memory: 8e9, servers: 228, more: 224, unspread: 100 })
    expect(ebb?.servers.map(({ name, state, peak }) => [name, state, peak])).toEqual(
      [1, 2, 3, 4].map((i) => [`server ${i}`, 'ran', 80e6])
    )
    expect(ebb?.servers[0]?.verdict).toMatchObject({ rest: 10e6, hold: 70e6, big: 10_000, footprint: 6000 })
  })

  test('computes the fit for another memory, for a memory that is too small, and for none', () => {
    const box = twoVariants()
    expect(judgeBox(box, 16e9)[1]?.fit).toMatchObject({ memory: 16e9, servers: 457, more: 453 })
    expect(judgeBox(box, 100e6)[1]?.fit).toEqual({ memory: 100e6, servers: 2, more: 0, unspread: 1 })
    expect(judgeBox(box, null)[1]?.fit).toBe(null)
  })

  test('takes need from the control of the variant, which several servers share', () => {
    const control = (variant: string, t: number, id: number, need: number): Rest[] => [
      run(t, variant, 'control'),
      server(t, id, 'a'),
      listening(t, id),
      ...inOrder([
        ...pulse(t + 500, id, 0, 'small', 100, 1000),
        ...Array.from({ length: 20 }, (_, i) => sample(t + i * 100, id, need, 50e6))
      ]),
      end(t + 2000, id)
    ]
    const main = (variant: string, t: number, ids: number[]): Rest[] => [
      run(t, variant),
      ...ids.flatMap((id, i) => [server(t, id, `s${i}`, 'a'), listening(t, id)]),
      ...inOrder(
        ids.flatMap((id) => [
          ...pulse(t + 500, id, 0, 'big', 1000, 1000),
          ...pulse(t + 3000, id, 1, 'small', 100, 1000),
          ...Array.from({ length: 60 }, (_, i) => sample(t + i * 100, id, 30e6, 50e6))
        ])
      )
    ]
    const box = boxOf([
      ...control('one', 0, 0, 20e6),
      ...main('one', 10_000, [1, 2]),
      ...control('two', 20_000, 3, 10e6),
      ...main('two', 30_000, [4]),
      { type: 'end', t: 40_000, reason: 'done' }
    ])
    const verdicts = judgeBox(box)
    expect(verdicts.map(({ servers }) => servers.map(({ verdict }) => verdict?.retention))).toEqual([[1.5, 1.5], [3]])
  })

  test('tells how each server ended', () => {
    const lines = inOrder([
      run(0, 'x', 'main', 600e6),
      ...['ran', 'killed', 'ended', 'signalled', 'never', 'killed early'].map((name, id) => server(0, id, name)),
      ...[0, 1, 2, 3].flatMap((id) => [listening(0, id), sample(0, id, 10e6, 20e6)]),
      { type: 'event', t: 50, server: 4, event: 'failed', text: 'did not listen within 30 s' },
      { type: 'event', t: 50, server: 5, event: 'oom' },
      { type: 'event', t: 50, server: 5, event: 'failed', text: 'ended before it listened (SIGKILL)' },
      { type: 'event', t: 1000, server: 1, event: 'oom' },
      end(1000, 1, null, 'SIGKILL'),
      end(2000, 2, 3),
      end(3000, 3, null, 'SIGSEGV'),
      end(4000, 0),
      { type: 'machine', t: 100, kernel: 0, group: 500e6 },
      { type: 'machine', t: 200, kernel: 0, group: 400e6 },
      { type: 'end', t: 5000, reason: 'done' }
    ])
    const [box] = judgeBox(boxOf(lines))
    expect(box?.servers.map(({ state, fate }) => [state, fate])).toEqual([
      ['ran', null],
      ['killed', 'The kernel killed it for memory after 1.0 s.'],
      ['ended', 'It ended with exit code 3 after 2.0 s.'],
      ['ended', 'It ended by SIGSEGV after 3.0 s.'],
      ['failed', 'did not listen within 30 s'],
      ['killed', 'The kernel killed it for memory before it listened: ended before it listened (SIGKILL)']
    ])
    expect(box).toMatchObject({ limit: 600e6, charged: 500e6, failures: 5, peakOfSums: 80e6, sumOfPeaks: 80e6 })
    // A server that never listened does not count for the fit.
    expect(judgeBox(boxOf(lines), 800e6)[0]?.fit?.servers).toBe(Math.floor((800 * 4) / 80))
    expect(box?.servers.flatMap(({ verdict }) => verdict?.missing ?? []).join()).not.toMatch(/The server ended/)
    expect(judgeBox(boxOf(lines), 800e6)[0]?.missing).toEqual([
      '3 of 4 listening servers ended early and held nothing from then on, so such servers need more than this.'
    ])
    expect(box?.missing).toEqual([])
  })

  test('judges a load without pulses', () => {
    const level = (t: number, connections: number, failed: number, lost: number): Rest => ({
      type: 'event',
      t,
      server: 0,
      event: 'level',
      connections,
      open: connections,
      connected: connections,
      failed,
      lost
    })
    const lines = inOrder([
      run(0, 'x'),
      server(0, 0, 'a'),
      listening(0, 0),
      ...Array.from({ length: 30 }, (_, i) => sample(i * 100, 0, i < 10 ? 5e6 : 9e6, 20e6)),
      level(1000, 100, 3, 0),
      level(2000, 50, 0, 7),
      end(3000, 0),
      { type: 'end', t: 3000, reason: 'done' }
    ])
    const [box] = judgeBox(boxOf(lines))
    expect(box).toMatchObject({ failures: 10, rest: 20e6 })
    expect(box?.servers[0]?.verdict).toMatchObject({
      connects: 150,
      failed: 3,
      lost: 7,
      rest: 5e6,
      peak: 9e6,
      retention: null
    })
    expect(box?.servers[0]?.verdict?.missing.join(' ')).toMatch(
      /has no pulses.*3 of 153 connects failed.*closed 7 connections/
    )
  })

  test('notes that output was left out', () => {
    const note: Rest = {
      type: 'event',
      t: 10,
      server: 0,
      event: 'note',
      code: 'lines-left-out',
      lines: 1234,
      text: '1234 lines'
    }
    const [box] = judgeBox(boxOf([...begin, sample(0, 0, 1, 2), note]))
    expect(box?.servers[0]?.verdict?.missing).toContain(FLOODED)
    expect(box?.servers[1]?.verdict?.missing).not.toContain(FLOODED)
  })

  test('notes a recording that was cut off, was stopped, or has no sample', () => {
    const lines = spikes('x', 0, 0, 1)
    expect(judgeBox(boxOf(lines.slice(0, 200)))[0]?.missing).toContain(
      'The recording was cut off, so the figures cover only what was recorded.'
    )
    const stopped = boxOf([...lines, { type: 'end', t: 20_000, reason: 'stopped' }])
    expect(judgeBox(stopped)[0]?.missing).toEqual([
      'The run was stopped before its end, so the figures cover only what was recorded.'
    ])
    expect(judgeBox(boxOf([run(0, 'x'), { type: 'end', t: 1, reason: 'done' }]))[0]).toMatchObject({
      peakOfSums: null,
      sumOfPeaks: null,
      gain: null,
      rest: null,
      missing: ['No server was ever sampled, so there is nothing to add up.']
    })
    // A run that was complete before the next run was cut off has no note.
    const two = [...spikes('a', 0, 0, 1), ...spikes('b', 20_000, 4, 1).slice(0, 100)]
    expect(judgeBox(boxOf(two)).map(({ missing }) => missing.length)).toEqual([0, 1])
  })

  test('returns a sentence for each limit that a box or a server breaks', () => {
    const verdicts = judgeBox(twoVariants())
    expect(brokenBoxes(verdicts, {})).toEqual([])
    expect(brokenBoxes(verdicts, { maxPeak: 200e6 })).toEqual([
      'plain: the peak of sums is 320.0 MB, the limit is 200.0 MB.'
    ])
    expect(brokenBoxes(verdicts, { maxPeak: 320e6 })).toEqual([])
    expect(brokenBoxes(verdicts.slice(1), { maxFootprint: 5999 })).toHaveLength(4)
    expect(brokenBoxes(verdicts, { maxFootprint: 5999 })[0]).toMatch(/^plain: server 1: footprint is/)
  })
})
