/** A process governor's state as OpenMetrics text. */
import type { GovernorStats } from './stats.js'

/**
 * Returns OpenMetrics text without the closing `# EOF`, so that other metrics can follow it. Units are bytes and
 * seconds.
 */
export function metrics(stats: GovernorStats): string {
  const lines: string[] = []
  const family = (name: string, type: 'counter' | 'gauge', help: string, samples: [string, number][]) => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    for (const [labels, value] of samples) lines.push(`${name}${type === 'counter' ? '_total' : ''}${labels} ${value}`)
  }
  const counter = (name: string, help: string, value: number) => family(name, 'counter', help, [['', value]])
  const gauge = (name: string, help: string, value: number) => family(name, 'gauge', help, [['', value]])
  const byReason = Object.entries(stats.releases)
  family(
    'ebb_releases',
    'counter',
    'Number of memory releases, by reason.',
    byReason.map(([reason, count]) => [`{reason="${reason}"}`, count])
  )
  counter('ebb_released_bytes', 'Anonymous memory returned to the operating system.', stats.returned)
  counter('ebb_release_seconds', 'Time from start to end of all releases.', stats.ms / 1000)
  gauge(
    'ebb_release_longest_pause_seconds',
    'The longest pause of the event loop by a release.',
    stats.longestPause / 1000
  )
  gauge(
    'ebb_release_expected_pause_seconds',
    'The pause that a release would probably cause now.',
    stats.expectedPause / 1000
  )
  counter('ebb_releases_too_long', 'Releases skipped because their pause would have been too long.', stats.tooLong)
  gauge('ebb_anonymous_bytes', 'Anonymous memory of the process.', stats.anonymous)
  return `${lines.join('\n')}\n`
}
