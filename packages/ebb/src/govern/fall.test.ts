import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FallWatch, LONGEST_WAIT, LOOK_INTERVAL, Peak } from './fall.js'

describe('Peak', () => {
  test('a figure has fallen below half of its highest', () => {
    const peak = new Peak(0)
    for (const value of [10, 100, 60]) peak.add(value)
    expect(peak.highest).toBe(100)
    expect(peak.hasFallen(50)).toBe(false)
    expect(peak.hasFallen(49)).toBe(true)
  })

  test('a figure that never reached the least value has not fallen', () => {
    const peak = new Peak(50)
    peak.add(49)
    expect(peak.hasFallen(0)).toBe(false)
    peak.add(50)
    expect(peak.hasFallen(0)).toBe(true)
  })

  test('starts again after a reset', () => {
    const peak = new Peak(0)
    peak.add(100)
    peak.reset(20)
    expect(peak.hasFallen(10)).toBe(false)
    expect(peak.hasFallen(9)).toBe(true)
  })

  test('a figure of 0 has not fallen', () => {
    expect(new Peak(0).hasFallen(0)).toBe(false)
  })
})

describe('FallWatch', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  /** A watch of a figure that the test sets. */
  function watch(size: number): { fall: FallWatch; state: { size: number; hasFallen: boolean; ended: number[] } } {
    const state = { size, hasFallen: true, ended: [] as number[] }
    const started = performance.now()
    const fall: FallWatch = new FallWatch({
      size: () => state.size,
      hasFallen: () => state.hasFallen,
      onEnded: () => state.ended.push(performance.now() - started)
    })
    fall.start(size)
    return { fall, state }
  }

  test('a fall that has ended is reported at the first look', () => {
    const { fall, state } = watch(100)
    vi.advanceTimersByTime(LOOK_INTERVAL - 1)
    expect([state.ended, fall.isWatching]).toEqual([[], true])
    vi.advanceTimersByTime(1)
    expect([state.ended, fall.isWatching]).toEqual([[100], false])
    vi.advanceTimersByTime(10_000)
    expect(state.ended).toEqual([100])
  })

  test('a fall that goes on is reported when it ends', () => {
    const { state } = watch(100)
    for (let i = 0; i < 3; i++) {
      state.size -= 10
      vi.advanceTimersByTime(LOOK_INTERVAL)
    }
    expect(state.ended).toEqual([])
    vi.advanceTimersByTime(LOOK_INTERVAL)
    expect(state.ended).toEqual([400])
  })

  test('a fall that does not end is reported after 800 ms', () => {
    const { state } = watch(1000)
    for (let i = 0; i < 20; i++) {
      state.size--
      vi.advanceTimersByTime(LOOK_INTERVAL)
    }
    expect(state.ended).toEqual([LONGEST_WAIT])
  })

  test('is not reported when a new crowd has come', () => {
    const { fall, state } = watch(100)
    state.size = 90
    vi.advanceTimersByTime(LOOK_INTERVAL)
    state.hasFallen = false
    vi.advanceTimersByTime(10_000)
    expect([state.ended, fall.isWatching]).toEqual([[], false])
  })

  test('stop() ends it, and it can start again', () => {
    const { fall, state } = watch(100)
    fall.stop()
    fall.stop()
    expect(fall.isWatching).toBe(false)
    vi.advanceTimersByTime(1000)
    expect(state.ended).toEqual([])
    fall.start(100)
    vi.advanceTimersByTime(LOOK_INTERVAL)
    expect(state.ended).toEqual([1100])
  })

  test('an owner that cannot act yet is asked again later, also when the figure falls again', () => {
    const looks: number[] = []
    let size = 100
    const fall: FallWatch = new FallWatch({
      size: () => size,
      hasFallen: () => true,
      onEnded() {
        looks.push(performance.now() - started)
        if (looks.length < 3) fall.lookAgain(LONGEST_WAIT)
      }
    })
    const started = performance.now()
    fall.start(size)
    vi.advanceTimersByTime(LOOK_INTERVAL)
    size = 50
    vi.advanceTimersByTime(10_000)
    expect(looks).toEqual([100, 900, 1700])
  })

  test('its timer does not hold the process open', () => {
    const unref = vi.fn()
    const original = globalThis.setTimeout
    const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((...args: Parameters<typeof setTimeout>) => {
      const timer = original(...args)
      timer.unref = unref.mockReturnValue(timer)
      return timer
    }) as typeof setTimeout)
    watch(100).fall.stop()
    spy.mockRestore()
    expect(unref).toHaveBeenCalledOnce()
  })
})
