/** The metrics of a process governor. */
import { type Metric, openMetrics, type Reading } from './open-metrics.js'
import type { GovernorStats } from './stats.js'

/** What {@link governorReadings} reads. */
export type GovernorFigures = Pick<
  GovernorStats,
  'releases' | 'returned' | 'ms' | 'longestPause' | 'expectedPause' | 'tooLong' | 'anonymous'
>

/** The metrics of a governor, by what they tell. */
const GOVERNOR_METRICS = {
  releases: {
    name: 'ebb.releases',
    kind: 'counter',
    unit: '{release}',
    help: 'Number of memory releases, by reason.',
    labels: ['reason']
  },
  returned: {
    name: 'ebb.released',
    kind: 'counter',
    unit: 'By',
    help: 'Anonymous memory returned to the operating system.'
  },
  time: { name: 'ebb.release', kind: 'counter', unit: 's', help: 'Time from start to end of all releases.' },
  longestPause: {
    name: 'ebb.release_longest_pause',
    kind: 'gauge',
    unit: 's',
    help: 'The longest pause of the event loop by a release.'
  },
  expectedPause: {
    name: 'ebb.release_expected_pause',
    kind: 'gauge',
    unit: 's',
    help: 'The pause that a release would probably cause now.'
  },
  tooLong: {
    name: 'ebb.releases_too_long',
    kind: 'counter',
    unit: '{release}',
    help: 'Releases skipped because their pause would have been too long.'
  },
  anonymous: { name: 'ebb.anonymous', kind: 'updown', unit: 'By', help: 'Anonymous memory of the process.' }
} as const satisfies Record<string, Metric>

/** Returns the metrics of a governor with their values. */
export function governorReadings(stats: GovernorFigures): Reading[] {
  const metrics = GOVERNOR_METRICS
  return [
    {
      metric: metrics.releases,
      points: Object.entries(stats.releases).map(([reason, value]) => ({ labels: { reason }, value }))
    },
    { metric: metrics.returned, points: [{ value: stats.returned }] },
    { metric: metrics.time, points: [{ value: stats.ms / 1000 }] },
    { metric: metrics.longestPause, points: [{ value: stats.longestPause / 1000 }] },
    { metric: metrics.expectedPause, points: [{ value: stats.expectedPause / 1000 }] },
    { metric: metrics.tooLong, points: [{ value: stats.tooLong }] },
    { metric: metrics.anonymous, points: [{ value: stats.anonymous }] }
  ]
}

/** Returns the metrics of a governor as OpenMetrics text, without the closing `# EOF`. */
export function metrics(stats: GovernorStats): string {
  return openMetrics(governorReadings(stats))
}
