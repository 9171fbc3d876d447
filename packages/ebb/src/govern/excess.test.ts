import { describe, expect, test } from 'vitest'
import { Excess } from './excess.js'

const MB = 1_000_000
const SECOND = 1000
const MINUTE = 60 * SECOND

/** A program whose anonymous memory a test sets, sampled once a second. Releases return what the test says. */
class Program {
  now = 0
  held: number
  /** Seconds after the start at which memory was released. */
  readonly releases: number[] = []
  readonly #excess: Excess
  readonly #live: () => number

  /** @param live memory in use: what a release leaves, bytes */
  constructor(held: number, live: () => number) {
    this.held = held
    this.#live = live
    this.#excess = new Excess(0, held)
  }

  /** Runs for some seconds. `held` returns the anonymous memory at a time, given the memory one second before. */
  run(seconds: number, held: (before: number, now: number) => number = (before) => before): void {
    for (let i = 0; i < seconds; i++) {
      this.now += SECOND
      this.held = held(this.held, this.now)
      this.#excess.add(this.now, this.held)
      if (this.#excess.isDue(this.now, this.held)) this.#release()
    }
  }

  #release(): void {
    this.releases.push(this.now / SECOND)
    this.held = Math.min(this.held, this.#live())
    this.#excess.onReleased(this.now, this.held, Math.max(MB, 0.2 * this.held))
  }
}

const to = (bytes: number) => () => bytes

describe('a burst without any other sign', () => {
  test('is due 3 s after memory has settled', () => {
    const program = new Program(40 * MB, to(40 * MB))
    program.run(10)
    program.run(1, to(120 * MB))
    program.run(2)
    expect(program.releases).toEqual([])
    program.run(10)
    expect(program.releases).toEqual([14])
  })

  test('is not due while memory grows, as the queue of a slow client does', () => {
    const program = new Program(40 * MB, to(40 * MB))
    program.run(20, (held) => held + 6 * MB)
    expect(program.releases).toEqual([])
    program.run(5)
    expect(program.releases).toHaveLength(1)
  })

  test.each([
    ['by half of a small program', 20 * MB, 45 * MB],
    ['by a quarter of a large program', 400 * MB, 500 * MB]
  ])('is not due if memory has grown little: %s', (_, before, after) => {
    const program = new Program(before, to(before))
    program.run(10)
    program.run(59 - 10, to(after))
    expect(program.releases).toEqual([])
  })

  test('is due each time, if the memory stays away in between', () => {
    const program = new Program(40 * MB, to(40 * MB))
    for (let i = 0; i < 5; i++) {
      program.run(1, to(200 * MB))
      program.run(89)
    }
    expect(program.releases).toHaveLength(5)
  })
})

describe('a steady program', () => {
  test('whose memory comes back after a release is left alone, but for rare probes', () => {
    // V8 lets the heap grow and collects it: every 20 s.
    const heap = (_: number, now: number): number => 60 * MB + (((now / SECOND) % 20) / 20) * 100 * MB
    const program = new Program(60 * MB, to(50 * MB))
    program.run(60, heap)
    expect(program.releases.length).toBeLessThanOrEqual(2)
    const before = program.releases.length
    program.run(60 * 60, heap)
    // 60 s after the last release, then 2, 4, 8 minutes, and every 10 minutes.
    expect(program.releases.length - before).toBeLessThanOrEqual(9)
  })

  test('with a large live heap gets one release, then rare probes', () => {
    const program = new Program(40 * MB, to(1000 * MB))
    program.run(1, to(1000 * MB))
    program.run(60)
    expect(program.releases).toEqual([4])
    program.run(60 * 60)
    expect(program.releases.slice(1).map((second, i) => second - (program.releases[i] ?? 0))).toEqual([
      60,
      120,
      240,
      480,
      ...Array(4).fill(600)
    ])
  })

  test('that leaks gets fewer and fewer releases', () => {
    let live = 40 * MB
    const program = new Program(live, () => live)
    program.run(20 * 60, () => {
      live += MB
      return live
    })
    // 1.5 times the memory each time, or 10 minutes.
    expect(program.releases.length).toBeLessThan(12)
    const gaps = program.releases.slice(1).map((second, i) => second - (program.releases[i] ?? 0))
    expect(Math.min(...gaps)).toBeGreaterThan(20)
  })

  test('that needs less than it once did counts a burst from there', () => {
    let live = 500 * MB
    const program = new Program(40 * MB, () => live)
    program.run(60, to(live))
    live = 60 * MB
    // The program itself returns the memory.
    program.run(12 * 60, to(live))
    const before = program.releases.length
    program.run(10, to(300 * MB))
    expect(program.releases.length - before).toBe(1)
  })
})

describe('memory that becomes free without any sign', () => {
  test('is found by a probe', () => {
    let live = 300 * MB
    const program = new Program(40 * MB, () => live)
    program.run(30, to(300 * MB))
    expect(program.releases).toHaveLength(1)
    live = 40 * MB
    program.run(60)
    expect(program.releases).toHaveLength(2)
    expect(program.held).toBe(40 * MB)
    // Nothing is left to find.
    program.run(60 * 60)
    expect(program.releases).toHaveLength(2)
  })

  test('is found within a minute again after a probe that was worth it', () => {
    let live = 300 * MB
    const program = new Program(40 * MB, () => live)
    const cycle = (): number => {
      live = 300 * MB
      program.run(30, to(live))
      live = 40 * MB
      const from = program.now
      while (program.held > live) program.run(1)
      const seconds = (program.now - from) / SECOND
      program.run(2 * 60)
      return seconds
    }
    expect([cycle(), cycle(), cycle()].every((seconds) => seconds <= 61)).toBe(true)
  })
})

test('a release that would pause the program for too long is tried again after a minute, then two, four, ...', () => {
  const excess = new Excess(0, 40 * MB)
  const tries: number[] = []
  for (let now = 0; now <= 20 * MINUTE; now += SECOND) {
    excess.add(now, 200 * MB)
    if (!excess.isDue(now, 200 * MB)) continue
    tries.push(now / SECOND)
    excess.onTooLong(now, 200 * MB)
  }
  expect(tries).toEqual([3, 63, 183, 423, 903])
  // A further burst need not wait.
  excess.add(21 * MINUTE, 400 * MB)
  expect(excess.isDue(21 * MINUTE + 4 * SECOND, 400 * MB)).toBe(true)
})
