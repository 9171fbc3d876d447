import { expect, test } from 'vitest'
import { plainLine, tableOf } from './live.js'

const quiet = { open: 0, connected: 0, failed: 0, lost: 0, unanswered: 0, late: 0, replaced: 0, rate: 0 }
const causes = { failed: {}, lost: {}, unanswered: {} }
const latency = { p50: 0.312, p90: 1, p99: 12.34, max: 99 }

test('the largest figures fit into 80 columns and do not touch', () => {
  const stats = {
    ...quiet,
    t: 1e7,
    open: 9_999_999,
    connected: 1e9,
    rate: 999_999,
    failed: 999_999,
    late: 99_999,
    lost: 99_999
  }
  const rows = tableOf(
    { ...stats, latency: { ...latency, p99: 9999 }, answers: latency, causes },
    { anonymous: 9.9999e9, resident: 1 }
  )
  for (const row of rows) expect(row.length).toBeLessThan(80)
  // Two names and three units are words of their own.
  expect(rows.map((row) => row.trim().split(/ +/).length)).toEqual([10, 11])
})

test('without a connection or a known server, figures are dashes', () => {
  const [, values] = tableOf({ ...quiet, t: 1000, latency: null, answers: null, causes }, null)
  expect(values?.trim().split(/ +/)).toEqual(['0', '0', '-', '-', '0', '0', '0', '-'])
})

test('a plain line leaves out what there was not', () => {
  const stats = { ...quiet, t: 12_000, open: 9876, rate: 120, latency, answers: null, causes }
  expect(plainLine(stats, { anonymous: 45.1e6, resident: 1 })).toBe(
    '12.0 s: 9,876 open, 120 connects/s, p50 0.3 ms, p99 12.3 ms, server 45.1 MB'
  )
  expect(plainLine({ ...stats, failed: 3, answers: latency }, null)).toBe(
    '12.0 s: 9,876 open, 120 connects/s, answer p50 0.3 ms, p99 12.3 ms, 3 failed'
  )
})
