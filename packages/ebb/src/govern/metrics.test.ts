import fc from 'fast-check'
import { expect, test } from 'vitest'
import { metrics } from './metrics.js'
import type { GovernorStats } from './stats.js'

interface Family {
  type: string
  help: string
  samples: { name: string; labels: Record<string, string>; value: number }[]
}

/**
 * Parses OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec/) strictly: metadata before samples,
 * one block per family, `_total` for counters only, and nothing else.
 */
function parse(text: string): Map<string, Family> {
  expect(text.endsWith('\n')).toBe(true)
  const families = new Map<string, Family>()
  let current: { name: string; family: Family } | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const metadata = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) ([^\n]+)$/.exec(line)
    if (metadata !== null) {
      const [, kind, name = '', rest = ''] = metadata
      if (current?.name !== name) {
        expect(families.has(name), `${name} twice`).toBe(false)
        current = { name, family: { type: '', help: '', samples: [] } }
        families.set(name, current.family)
      }
      expect(current.family.samples, `${name}: metadata after samples`).toEqual([])
      if (kind === 'HELP') current.family.help = rest
      else {
        expect(['counter', 'gauge']).toContain(rest)
        current.family.type = rest
      }
      continue
    }
    const [, name = '', labels, value = ''] =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-z]+="[^"\\]*"(?:,[a-z]+="[^"\\]*")*)\})? (\S+)$/.exec(line) ?? []
    expect(name, `not a sample: ${line}`).not.toBe('')
    expect(value).toMatch(/^-?\d+(\.\d+)?([eE][-+]?\d+)?$/)
    if (current === undefined) throw new Error(`no family: ${line}`)
    expect(name).toBe(current.family.type === 'counter' ? `${current.name}_total` : current.name)
    const pairs = labels?.split(',').map((pair) => /^([a-z]+)="(.*)"$/.exec(pair)?.slice(1) as [string, string]) ?? []
    current.family.samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value) })
  }
  return families
}

const bytes = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const ms = fc.double({ min: 0, max: 1e9, noNaN: true })
const count = fc.nat()
const counts = fc.record({ spike: count, limit: count, pressure: count, signal: count, asked: count })
const stats: fc.Arbitrary<GovernorStats> = fc.record({
  releases: counts,
  acts: counts,
  returned: bytes,
  ms,
  longestPause: ms,
  tooLong: count,
  last: fc.constant(undefined),
  anonymous: bytes,
  expectedPause: ms,
  watching: fc.constant(undefined)
})

test('is OpenMetrics, in bytes and seconds, whatever the figures', () => {
  fc.assert(
    fc.property(stats, (stats) => {
      const families = parse(metrics(stats))
      const value = (name: string): number | undefined => families.get(name)?.samples[0]?.value
      for (const { help, type } of families.values()) expect([help, type]).not.toContain('')
      const releases = families.get('ebb_releases')?.samples.map(({ labels, value }) => [labels.reason, value])
      expect(Object.fromEntries(releases ?? [])).toEqual(stats.releases)
      expect(value('ebb_released_bytes')).toBe(stats.returned)
      expect(value('ebb_release_seconds')).toBe(stats.ms / 1000)
      expect(value('ebb_release_longest_pause_seconds')).toBe(stats.longestPause / 1000)
      expect(value('ebb_release_expected_pause_seconds')).toBe(stats.expectedPause / 1000)
      expect(value('ebb_releases_too_long')).toBe(stats.tooLong)
      expect(value('ebb_anonymous_bytes')).toBe(stats.anonymous)
      expect(families.size).toBe(7)
    })
  )
})

test('the name of a metric with a unit ends with that unit', () => {
  const [example] = fc.sample(stats, { numRuns: 1, seed: 1 })
  const names = [...parse(metrics(example as GovernorStats)).keys()]
  expect(names.every((name) => /^ebb_(releases|releases_too_long|\w+_(bytes|seconds))$/.test(name))).toBe(true)
})
