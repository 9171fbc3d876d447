import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { LIGHTS, type Light, type RatedFigure, rate, reasonsFor, SIGNS, THRESHOLDS } from './rating.js'
import { markdownTable, table } from './table.js'
import { sideBySide, synthetic } from './testing/synthetic.js'
import { judge, type Verdict } from './verdict.js'
import { verdictToJson } from './verdict-json.js'

const [ebb, ebbControl, net, netControl] = sideBySide() as [never, never, never, never]
const good = judge(ebb, ebbControl)
const bad = judge(net, netControl)

/** Returns the lights of a verdict with other figures. */
function lights(changes: Partial<Verdict>): Partial<Record<RatedFigure, Light>> {
  const ratings = Object.entries(rate({ ...good, longestPause: null, ...changes }))
  return Object.fromEntries(ratings.map(([figure, { light }]) => [figure, light]))
}

test.each<[Partial<Verdict>, Partial<Record<RatedFigure, Light>>]>([
  [{}, { retention: 'good', release: 'good', footprint: 'good' }],
  [{ retention: 1.1, kept: 22e6, need: 20e6 }, { retention: 'good' }],
  [{ retention: 1.11, kept: 22.2e6, need: 20e6 }, { retention: 'fair' }],
  [{ retention: 1.5, kept: 30e6, need: 20e6 }, { retention: 'fair' }],
  [{ retention: 1.51, kept: 30.2e6, need: 20e6 }, { retention: 'poor' }],
  // 0.4 MB above need is nothing, however small need is.
  [{ retention: 1.8, kept: 0.9e6, need: 0.5e6 }, { retention: 'good' }],
  [{ release: 1000 }, { release: 'good' }],
  [{ release: 1001 }, { release: 'fair' }],
  [{ release: Number.POSITIVE_INFINITY, retention: 1.08, kept: 21.6e6, need: 20e6 }, { release: 'fair' }],
  [{ release: Number.POSITIVE_INFINITY, retention: 1.3, kept: 26e6, need: 20e6 }, { release: 'poor' }],
  [{ footprint: -12 }, { footprint: 'good' }],
  [{ footprint: 1000 }, { footprint: 'good' }],
  [{ footprint: 8000 }, { footprint: 'fair' }],
  [{ footprint: 8001 }, { footprint: 'poor' }],
  [{ footprint: 1500, protocol: 'ws' }, { footprint: 'good' }],
  [{ footprint: 12_000, protocol: 'mqtt' }, { footprint: 'fair' }],
  [{ longestPause: 50 }, { longestPause: 'good' }],
  [{ longestPause: 51 }, { longestPause: 'fair' }],
  [{ longestPause: 101 }, { longestPause: 'poor' }],
  [
    { failed: 1, lost: 2 },
    { failed: 'poor', lost: 'poor' }
  ]
])('rates %j as %j', (changes, expected) => {
  expect(lights(changes)).toMatchObject(expected)
})

test('what is not known, and what nothing is compared with, has no rating', () => {
  expect(lights({ retention: null, release: null, footprint: null })).toEqual({})
  expect(lights({ protocol: 'http' })).not.toHaveProperty('footprint')
})

test('no figure is fair or poor without a sentence, and servers share it', () => {
  const reasons = reasonsFor([
    { name: 'a', verdict: bad },
    { name: 'b', verdict: bad },
    { name: 'c', verdict: good },
    { name: 'd', verdict: null }
  ])
  expect(reasons.map(({ light, label, names }) => [light, label, names])).toEqual([
    ['poor', 'retention', ['a', 'b']],
    ['poor', 'release time', ['a', 'b']],
    ['fair', 'footprint', ['a', 'b']]
  ])
  for (const { reason } of reasons) expect(reason).toMatch(/^[A-Z].*\.$/)
})

test('each light has a sign and a word in the terminal, in Markdown and in JSON', () => {
  expect(new Set(Object.values(SIGNS)).size).toBe(3)
  const text = table([good, bad])
  expect(text).toContain('✓ good, ~ fair, ✗ poor')
  expect(text).toMatch(/^✗ retention of node:net: Above 1\.50: /m)
  expect(markdownTable([bad])).toMatch(/^- ❌ poor: retention of node:net: Above 1\.50: /m)
  expect(verdictToJson(bad).rating.retention).toEqual({
    light: 'poor',
    reason: expect.stringMatching(/^Above 1\.50: /)
  })
})

test('the reference has the thresholds', () => {
  const page = readFileSync(new URL('../../../../docs/reference/verdict.md', import.meta.url), 'utf8')
  const section = page.slice(page.indexOf('## Ratings'))
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  const row = (label: string): string => rows.find((line) => line.startsWith(`| ${label} |`)) ?? ''
  const { retention, footprint, longestPause } = THRESHOLDS
  expect(row('retention')).toContain(`| at most ${retention.good.toFixed(2)}`)
  expect(row('retention')).toContain(`| at most ${retention.fair.toFixed(2)}`)
  expect(row('release time')).toContain(`| at most ${THRESHOLDS.release.good / 1000} s`)
  for (const [label, { good, fair }] of [
    ['footprint, TCP', footprint.tcp],
    ['footprint, WebSocket', footprint.ws],
    ['footprint, MQTT', footprint.mqtt]
  ] as const) {
    const number = (value: number): string => `at most ${value.toLocaleString('en-US')} B`
    expect(row(label)).toContain(`| ${number(good)} | ${number(fair)} |`)
  }
  expect(row('longest pause')).toContain(`| at most ${longestPause.good} ms | at most ${longestPause.fair} ms |`)
  expect(LIGHTS).toEqual(['poor', 'fair', 'good'])
})

test('JSON has no digits that mean nothing; the verdict stays exact for limits', () => {
  const verdict = judge(synthetic({ perConnection: 43.123456 }), synthetic({ role: 'control' }))
  const json = verdictToJson({
    ...verdict,
    runs: 2,
    spread: { retention: { low: 1.000012345, high: Number.POSITIVE_INFINITY } }
  })
  for (const value of Object.values(json)) {
    if (typeof value === 'number') expect(String(value)).toMatch(/^-?\d+(\.\d{1,4})?$/)
  }
  expect(json.spread?.retention).toEqual({ low: 1, high: null })
  expect(String(verdict.retention)).toMatch(/\.\d{5,}/)
})
