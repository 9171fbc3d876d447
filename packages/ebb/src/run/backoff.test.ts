import { expect, test } from 'vitest'
import { Backoff } from './backoff.js'

test('restarts at once, then waits longer and longer, up to 30 s', () => {
  const backoff = new Backoff()
  const delays = Array.from({ length: 12 }, () => backoff.next(0))
  expect(delays).toEqual([0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000])
  expect(backoff.restarts).toBe(12)
})

test('begins anew when a process ran for 10 s', () => {
  const backoff = new Backoff()
  for (let i = 0; i < 5; i++) backoff.next(9_999)
  expect(backoff.next(10_000)).toBe(0)
  expect(backoff.restarts).toBe(1)
  expect(backoff.next(0)).toBe(100)
})

test('never waits longer than 30 s, however often', () => {
  const backoff = new Backoff()
  for (let i = 0; i < 2000; i++) backoff.next(0)
  expect(backoff.next(0)).toBe(30_000)
})
