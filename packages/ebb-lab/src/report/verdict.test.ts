import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Recording, RecordingEvent, Sample } from '../record/recording.js'
import { broken } from './limits.js'
import { cutAfter, sideBySide, synthetic } from './testing/synthetic.js'
import { judge, type Verdict } from './verdict.js'
import { verdictToJson } from './verdict-json.js'

const MB = 1e6

/** Returns a recording with these samples, `[t, anonymous in MB, cpu in ms]`, and events without their `type`. */
function recordingOf(
  samples: [t: number, anonymous: number, cpu?: number][],
  events: object[],
  complete = true
): Recording {
  const base = synthetic()
  const end = { event: 'end', t: samples.at(-1)?.[0] ?? 0, reason: 'stopped', exitCode: null, signal: null }
  return {
    ...base,
    samples: samples.map(
      ([t, anonymous, cpu = 0]): Sample => ({
        ...(base.samples[0] as Sample),
        t,
        anonymous: anonymous * MB,
        resident: anonymous * MB,
        cpu
      })
    ),
    events: [...events, ...(complete ? [end] : [])].map((event) => ({ type: 'event', ...event }) as RecordingEvent),
    complete
  }
}

function pulse(
  index: number,
  size: 'big' | 'small',
  n: number,
  times: [number, number, number, number],
  failed = 0,
  lost = 0
): object[] {
  return [
    { event: 'pulse', t: times[0], index, size, n },
    { event: 'connected', t: times[1], index, connected: n - failed, failed },
    { event: 'closing', t: times[2], index },
    { event: 'closed', t: times[3], index, lost }
  ]
}

/** Returns a sample for every 100 ms. Memory and CPU time are functions of the time. */
function every100(
  until: number,
  sizeAt: (t: number) => number,
  cpuAt: (t: number) => number = () => 0
): [number, number, number][] {
  return Array.from({ length: until / 100 + 1 }, (_, index) => [index * 100, sizeAt(index * 100), cpuAt(index * 100)])
}

/** A big pulse from 1 s to 3 s, and a small pulse from 5 s to 7 s. Rest 10 MB, hold 60 MB, peak 75 MB, kept 30 MB. */
const EVENTS = [
  ...pulse(0, 'big', 10_000, [1000, 1400, 2600, 3000]),
  ...pulse(1, 'small', 1000, [5000, 5200, 6800, 7000])
]
const sizeOf = (t: number): number => (t < 500 ? 99 : t < 1000 ? 10 : t === 1200 ? 75 : t < 3000 ? 60 : 30)
const MAIN = recordingOf(every100(9000, sizeOf), EVENTS)
const CONTROL: Recording = {
  ...recordingOf(
    every100(4000, (t) => (t < 1000 ? 10 : 20)),
    pulse(0, 'small', 1000, [1000, 1200, 2800, 3000])
  )
}

describe('judge', () => {
  const verdict = judge(MAIN, CONTROL)

  test('counts pulses and connections', () => {
    expect(verdict).toMatchObject({
      name: 'ebb serve',
      runtime: 'Node 20.20.2',
      big: 10_000,
      small: 1000,
      iterations: 1,
      connects: 11_000,
      failed: 0,
      lost: 0
    })
  })

  test('takes rest from the half second before the first pulse, not from the start of the process', () => {
    expect(verdict.rest).toBe(10 * MB)
  })

  test('takes rest from all samples before the first pulse if the half second has none', () => {
    const sparse = recordingOf(
      [
        [0, 7],
        [100, 9],
        [2000, 60],
        [2500, 60],
        [4000, 60]
      ],
      pulse(0, 'big', 10, [1500, 1600, 3000, 3100])
    )
    expect(judge(sparse).rest).toBe(8 * MB)
  })

  test('computes hold, peak and footprint', () => {
    expect(verdict.hold).toBe(60 * MB)
    expect(verdict.peak).toBe(75 * MB)
    expect(verdict.footprint).toBe(5000)
  })

  test('takes resident memory while the big pulses were open', () => {
    const rss = MAIN.samples.map((sample) => ({
      ...sample,
      resident: sample.anonymous + (sample.t < 1500 ? 5 : 7) * MB
    }))
    expect(judge({ ...MAIN, samples: rss }).resident).toBe(67 * MB)
  })

  test('computes connects per second as the median over the big pulses, without failed connects', () => {
    const times = [
      [1000, 1400],
      [4000, 5000],
      [7000, 9000]
    ] as const
    const bigs = times.flatMap(([from, to], i) => pulse(i, 'big', 10_000, [from, to, to + 500, to + 600], 2000))
    const smalls = pulse(3, 'small', 1000, [12_000, 12_001, 13_000, 13_100])
    expect(judge(recordingOf(every100(15_000, sizeOf), [...bigs, ...smalls])).connectsPerSecond).toBe(8000)
    expect(judge(MAIN).connectsPerSecond).toBe(25_000)
    expect(judge(CONTROL).connectsPerSecond).toBeNull()
  })

  test('leaves out memory before the first pulse from the peak', () => {
    expect(Math.max(...MAIN.samples.map((sample) => sample.anonymous))).toBe(99 * MB)
    expect(verdict.peak).toBe(75 * MB)
  })

  test('computes a negative footprint, with a note', () => {
    const shrinks = recordingOf(
      every100(5000, (t) => (t < 1000 ? 20 : 10)),
      EVENTS.slice(0, 4)
    )
    expect(judge(shrinks).footprint).toBe(-1000)
  })

  test('divides the footprint by the connections that were really held', () => {
    const half = recordingOf(every100(9000, sizeOf), pulse(0, 'big', 10_000, [1000, 1400, 2600, 3000], 5000))
    expect(judge(half)).toMatchObject({ big: 5000, footprint: 10_000, failed: 5000 })
  })

  test('computes kept, need and retention', () => {
    expect(verdict).toMatchObject({ kept: 30 * MB, need: 20 * MB, retention: 1.5 })
  })

  test('leaves out the busy beginning of a hold phase from need and kept', () => {
    // The hold phase has 25 samples. In the first fifth, the server still holds the memory of accepting.
    const busy = recordingOf(
      every100(5000, (t) => (t < 1500 ? 50 : 20)),
      pulse(0, 'small', 1000, [900, 1000, 2000, 2100])
    )
    expect(judge(MAIN, busy).need).toBe(20 * MB)
  })

  test('takes the whole hold phase if few samples would remain', () => {
    const brief = recordingOf(
      [
        [0, 1],
        [1000, 50],
        [1100, 50],
        [1200, 50],
        [1300, 20],
        [1400, 20],
        [2000, 20]
      ],
      pulse(0, 'small', 9, [900, 1000, 1500, 1600])
    )
    expect(judge(MAIN, brief).need).toBe(50 * MB)
  })

  test('takes kept only from small pulses after the last big pulse', () => {
    const events = [
      ...pulse(0, 'small', 1000, [1000, 1100, 1900, 2000]),
      ...pulse(1, 'big', 9000, [3000, 3100, 3900, 4000]),
      ...pulse(2, 'small', 1000, [5000, 5100, 5900, 6000])
    ]
    const size = (t: number): number => (t < 3000 ? 5 : t < 4500 ? 90 : 40)
    expect(judge(recordingOf(every100(8000, size), events), CONTROL).kept).toBe(40 * MB)
  })

  test('counts CPU time from the last sample before the first pulse to 1 s after the last close', () => {
    // The last close is at 7000, so CPU time until 7900 counts, and CPU time after 8000 does not.
    const main = recordingOf(
      every100(7900, sizeOf, (t) => (t < 1000 ? 90 : 3390)),
      EVENTS
    )
    expect(judge(main).cpuPerThousand).toBeCloseTo(3300 / 11, 9)
    const later = recordingOf(
      every100(9000, sizeOf, (t) => (t < 1000 ? 90 : t < 8000 ? 3390 : 99_999)),
      EVENTS
    )
    expect(judge(later).cpuPerThousand).toBeCloseTo(3300 / 11, 9)
  })

  test('counts releases and finds their longest pause', () => {
    const release = (t: number, pauseMs: number | null): object => ({
      event: 'release',
      t,
      before: 9,
      after: 8,
      ms: 30,
      pauseMs
    })
    const cycle = { event: 'cycle', t: 10, cycle: 1, clients: 0, system: 1, inuse: 1, released: 0, objects: null }
    const withEvents = (...more: object[]): Verdict => judge(recordingOf(every100(9000, sizeOf), [...more, ...EVENTS]))
    expect(withEvents(release(1, 4), release(2, 9), release(3, null))).toMatchObject({ giveBacks: 3, longestPause: 9 })
    expect(withEvents(cycle)).toMatchObject({ giveBacks: 0, longestPause: 0 })
    expect(withEvents()).toMatchObject({ giveBacks: null, longestPause: null })
    expect(withEvents(release(1, null))).toMatchObject({ giveBacks: 1, longestPause: null })
  })

  test('judges a plan that runs twice, whose pulses count from 0 again', () => {
    const twice = [...EVENTS.slice(0, 4), ...pulse(0, 'big', 20_000, [5000, 5400, 6600, 7000])]
    expect(judge(recordingOf(every100(9000, sizeOf), twice))).toMatchObject({
      iterations: 2,
      connects: 30_000,
      big: 15_000
    })
  })

  test('does not change the recordings', () => {
    const before = JSON.stringify([MAIN, CONTROL])
    judge(MAIN, CONTROL)
    expect(JSON.stringify([MAIN, CONTROL])).toBe(before)
  })
})

describe('release time', () => {
  /** Returns the release time. Need is 20 MB, so memory is back at 21 MB. The last big close is at 3000. */
  const releaseOf = (sizeAfter: (t: number) => number): number | null =>
    judge(
      recordingOf(
        every100(9000, (t) => (t < 3000 ? 60 : sizeAfter(t))),
        EVENTS
      ),
      CONTROL
    ).release

  test('is the time until the first sample from which on memory is back', () => {
    expect(releaseOf((t) => (t < 3700 ? 60 : 20))).toBe(700)
  })
  test('counts memory within 5 % of need as back', () => {
    expect(releaseOf((t) => (t < 3700 ? 21.001 : 21))).toBe(700)
  })
  test('counts memory within 0.5 MB of need as back', () => {
    const tiny = recordingOf(
      every100(4000, () => 1),
      pulse(0, 'small', 1000, [1000, 1200, 2800, 3000])
    )
    const main = recordingOf(
      every100(9000, (t) => (t < 3400 ? 60 : 1.5)),
      EVENTS
    )
    expect(judge(main, tiny).release).toBe(400)
  })
  test('is 0 if memory is already back at the close', () => {
    expect(releaseOf(() => 20)).toBe(0)
  })
  test('is Infinity if memory never goes back', () => {
    expect(releaseOf(() => 60)).toBe(Infinity)
  })
  test('counts until memory is back for the last time', () => {
    expect(releaseOf((t) => (t < 3200 ? 60 : t < 4000 ? 20 : t < 4500 ? 30 : 20))).toBe(1500)
  })
  test('is Infinity if memory is back only for a while', () => {
    expect(releaseOf((t) => (t < 3200 ? 60 : t < 8500 ? 20 : 30))).toBe(Infinity)
  })
  test('ignores a single high sample', () => {
    expect(releaseOf((t) => (t < 3200 || t === 6000 ? 60 : 20))).toBe(200)
    expect(releaseOf((t) => (t < 3200 || t === 9000 ? 60 : 20))).toBe(200)
  })
  test('counts two high samples in a row', () => {
    expect(releaseOf((t) => (t < 3200 || t === 6000 || t === 6100 ? 60 : 20))).toBe(3200)
    expect(releaseOf((t) => (t < 3200 || t >= 8900 ? 60 : 20))).toBe(Infinity)
  })
  test('counts high samples that alternate with low samples', () => {
    expect(releaseOf((t) => (t < 3200 || t % 200 === 0 ? 60 : 20))).toBe(Infinity)
    expect(releaseOf((t) => (t < 3200 || (t < 7000 && t % 300 === 0) ? 60 : 20))).toBe(4000)
  })
  test('always counts the first sample after the close', () => {
    expect(releaseOf((t) => (t === 3000 ? 60 : 20))).toBe(100)
  })
  test('counts memory that is no higher than the control in the same phase as back', () => {
    // A control with 20 MB while it holds connections, 24 MB while it opens and closes them, and 18 MB in between.
    const restless = recordingOf(
      every100(8000, (t) => (t < 1000 ? 10 : t < 1200 ? 24 : t < 3800 ? 20 : t < 4200 ? 24 : 18)),
      pulse(0, 'small', 1000, [1000, 1200, 3800, 4000])
    )
    const judged = (size: (t: number) => number): number | null =>
      judge(recordingOf(every100(9000, size), EVENTS), restless).release
    // The small pulse is held from 5.2 to 6.8 s, and the first fifth of that is busy.
    const isHeld = (t: number): boolean => t >= 5600 && t < 6800
    expect(judged((t) => (t < 3500 ? 60 : isHeld(t) ? 21 : 24))).toBe(500)
    // Each phase has its own limit: 21.1 is too high while holding, and 24.1 is too high outside of it.
    expect(judged((t) => (t < 3500 ? 60 : isHeld(t) ? 21.1 : 24))).toBeGreaterThan(500)
    expect(judged((t) => (t < 3500 ? 60 : isHeld(t) ? 21 : 24.1))).toBe(Infinity)
  })
  test('is not known if the recording ends right after the last big pulse', () => {
    const short = judge(
      recordingOf(
        every100(3500, () => 20),
        EVENTS.slice(0, 4)
      ),
      CONTROL
    )
    expect(short.release).toBeNull()
    expect(short.missing.join(' ')).toContain('within a second')
  })
})

describe('notes of a verdict', () => {
  const said = (main: Recording, control?: Recording): string => judge(main, control).missing.join('\n')
  const samples = every100(9000, sizeOf)
  const cycle = { event: 'cycle', t: 10, cycle: 1, clients: 0, system: 1, inuse: 1, released: 0, objects: null }

  test('has no notes for a complete run', () => {
    expect(judge(recordingOf(samples, [cycle, ...EVENTS]), CONTROL).missing).toEqual([])
  })
  test.each<[string, Recording, Recording | undefined, RegExp]>([
    ['no control', MAIN, undefined, /no control/],
    ['a cut-off recording', recordingOf(samples, EVENTS, false), CONTROL, /^The recording was cut off after 9\.0 s/m],
    ['a cut-off control', MAIN, { ...CONTROL, complete: false }, /control's recording was cut off/],
    ['no pulse', recordingOf(samples, []), CONTROL, /contains no pulse/],
    ['no big pulse', recordingOf(samples, EVENTS.slice(4)), CONTROL, /no big pulse/],
    ['no small pulse', recordingOf(samples, EVENTS.slice(0, 4)), CONTROL, /no small pulse after/],
    ['a control with a big pulse', MAIN, MAIN, /control saw big pulses/],
    [
      'a control of another size',
      MAIN,
      recordingOf(samples, pulse(0, 'small', 500, [1000, 1200, 2800, 3000])),
      /held 500 .* 1,000/
    ],
    [
      'too few samples',
      recordingOf(
        [
          [0, 1],
          [2000, 60],
          [9000, 1]
        ],
        EVENTS
      ),
      CONTROL,
      /Only 1 sample was taken while the big/
    ],
    [
      'no samples',
      recordingOf(
        [
          [0, 1],
          [9000, 1]
        ],
        EVENTS
      ),
      CONTROL,
      /No sample was taken while the big/
    ],
    [
      'failed connects',
      recordingOf(samples, pulse(0, 'big', 100, [1000, 1400, 2600, 3000], 7)),
      CONTROL,
      /7 of 100 connects failed/
    ],
    [
      'lost connections',
      recordingOf(samples, pulse(0, 'big', 100, [1000, 1400, 2600, 3000], 0, 3)),
      CONTROL,
      /closed 3 connections/
    ]
  ])('notes %s', (_, main, control, sentence) => {
    expect(said(main, control)).toMatch(sentence)
  })
  test('notes a server that ended in the middle of a pulse', () => {
    const died = recordingOf(samples, EVENTS.slice(0, 2), false)
    died.events.push({ type: 'event', t: 2000, event: 'end', reason: 'exited', exitCode: null, signal: 'SIGSEGV' })
    died.complete = true
    expect(said(died, CONTROL)).toContain('The server ended by SIGSEGV after 2.0 s, in the middle of a pulse.')
  })
  test('has no note for a server that was stopped after its last pulse', () => {
    const stopped = recordingOf(samples, [cycle, ...EVENTS], false)
    stopped.events.push({ type: 'event', t: 9000, event: 'end', reason: 'exited', exitCode: null, signal: 'SIGTERM' })
    stopped.complete = true
    expect(said(stopped, CONTROL)).toBe('')
  })
})

describe('a recording that was cut off anywhere', () => {
  const [main, control] = sideBySide() as [Recording, Recording]
  const lines = main.samples.length + main.events.length
  const figures = [
    'rest',
    'hold',
    'peak',
    'footprint',
    'kept',
    'need',
    'retention',
    'release',
    'giveBacks',
    'longestPause',
    'cpuPerThousand',
    'connectsPerSecond',
    'resident'
  ] as const

  test('is judged without an error; unknown figures are null and have a note', () => {
    fc.assert(
      fc.property(fc.nat(lines), fc.option(fc.nat(lines), { nil: undefined }), (kept, keptOfControl) => {
        const verdict = judge(
          cutAfter(main, kept),
          keptOfControl === undefined ? undefined : cutAfter(control, keptOfControl)
        )
        for (const figure of figures) {
          expect(verdict[figure]).not.toBeNaN()
          if (verdict[figure] === null) expect(verdict.missing).not.toEqual([])
        }
        expect(new Set(verdict.missing).size).toBe(verdict.missing.length)
        expect(verdict.missing).toEqual(verdict.notes.map(({ text }) => text))
        if (kept < lines) expect(verdict.missing.join()).toContain('cut off')
      })
    )
  })
  test('is judged without an error if any of its lines are missing', () => {
    fc.assert(
      fc.property(fc.subarray(EVENTS), fc.subarray(MAIN.samples), (events, samples) => {
        const holed = { ...recordingOf([], events), samples }
        for (const figure of figures) expect(judge(holed, CONTROL)[figure]).not.toBeNaN()
      })
    )
  })
})

describe('broken', () => {
  const verdict: Verdict = { ...judge(MAIN, CONTROL), name: 'x', retention: 1.5, footprint: 64, release: 1000 }

  test('returns nothing if every figure is at or below its limit', () => {
    expect(broken(verdict, { maxRetention: 1.5, maxFootprint: 64, maxRelease: 1000 })).toEqual([])
    expect(broken(verdict, {})).toEqual([])
  })
  test('returns a sentence for each limit that is broken', () => {
    expect(broken(verdict, { maxRetention: 1.1, maxFootprint: 32, maxRelease: 500 })).toEqual([
      'x: retention is 1.50, the limit is 1.10.',
      'x: footprint is 64 B per connection, the limit is 32 B per connection.',
      'x: release time is 1.00 s, the limit is 0.50 s.'
    ])
  })
  test('counts an unknown figure as broken', () => {
    const missing = { ...verdict, retention: null, footprint: null, release: null }
    expect(broken(missing, { maxRetention: 9, maxFootprint: 9, maxRelease: 9 })).toHaveLength(3)
    expect(broken(missing, {})).toEqual([])
  })
  test('counts memory that never went back as above every limit', () => {
    expect(broken({ ...verdict, release: Infinity }, { maxRelease: 1e9 })).toEqual([
      expect.stringContaining('never went back')
    ])
  })
  test('counts a limit of NaN as broken', () => {
    expect(broken(verdict, { maxRetention: Number.NaN })).toHaveLength(1)
  })
  test('shows enough digits to tell the figure from its limit', () => {
    expect(broken({ ...verdict, retention: 1.1004 }, { maxRetention: 1.1 })[0]).toContain('1.1004')
  })
})

test('in JSON, the release time is a number, or null with a reason', () => {
  const verdict = judge(MAIN, CONTROL)
  const json = (of: Verdict): unknown => JSON.parse(JSON.stringify(verdictToJson(of)))
  const rest = { ...verdict, retention: expect.closeTo(verdict.retention ?? 0, 4), rating: expect.anything() }
  expect(json({ ...verdict, release: 250 })).toEqual({ ...rest, release: 250, releaseReason: null })
  expect(json({ ...verdict, release: Infinity })).toEqual({ ...rest, release: null, releaseReason: 'never' })
  expect(verdictToJson(judge(MAIN))).toMatchObject({ release: null, releaseReason: 'no-control' })
})

test('a server that ends in the middle has one note, with its exit code and its last words', () => {
  const events = [...MAIN.events]
  const connected = events.findIndex(({ event }) => event === 'connected')
  const { t } = events[connected] as RecordingEvent
  events.splice(connected)
  events.push({ type: 'event', t, event: 'line', text: 'Error: the pool is empty' })
  events.push({ type: 'event', t, event: 'end', reason: 'exited', exitCode: 7, signal: null })
  const { notes } = judge({ ...MAIN, events, samples: MAIN.samples.filter((sample) => sample.t <= t) })
  expect(notes).toEqual([
    {
      code: 'server-ended',
      text: expect.stringMatching(
        /^The server ended with exit code 7 after .* s, in the middle of a pulse; it said: Error: the pool is empty\.$/
      )
    }
  ])
})

test('tells a server that prints no Release lines from one whose lines are not seen', () => {
  const note = (output: boolean): string | undefined => {
    const events = MAIN.events.filter(({ event }) => event !== 'cycle' && event !== 'release')
    const { notes } = judge({ ...MAIN, events, header: { ...MAIN.header, output } }, CONTROL)
    return notes.find(({ code }) => code === 'releases-unknown')?.text
  }
  expect(note(true)).toMatch(/^The server prints no Cycle or Release lines/)
  expect(note(false)).toMatch(/^ebb did not start the server and cannot see what it prints/)
})

test('pulses that were held for less than a sample: the note says how long, and the unit', () => {
  const events = MAIN.events.map((event) => {
    const before = MAIN.events.findLast((other) => other.event === 'connected' && other.t <= event.t)
    return event.event === 'closing' ? { ...event, t: (before?.t ?? 0) + 1 } : event
  })
  const opened = events.flatMap(({ event, t }) => (event === 'connected' ? t : []))
  const samples = MAIN.samples.filter(({ t }) => !opened.some((at) => Math.abs(t - at) <= 1))
  const { notes } = judge({ ...MAIN, events, samples }, CONTROL)
  expect(notes.find(({ code }) => code === 'hold-unsampled')?.text).toMatch(
    /^No sample was taken while the big pulses were held: they were held for 1\.0 ms, .* \(linger is in milliseconds/
  )
})
