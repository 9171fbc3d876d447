/** What a governor did, as OpenMetrics text. */
import type { GovernStats } from './process-governor.js'

/** Without the closing `# EOF`: another's text, which may have it, comes behind. Units are the format's: bytes and seconds. */
export function metrics({ acts, returned, ms, longestPause, tooLong, anonymous, expectedPause }: GovernStats): string {
  const lines: string[] = []
  const family = (name: string, type: 'counter' | 'gauge', help: string, samples: [string, number][]) => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    for (const [labels, value] of samples) lines.push(`${name}${type === 'counter' ? '_total' : ''}${labels} ${value}`)
  }
  family(
    'ebb_releases',
    'counter',
    'Give-backs, by reason.',
    Object.entries(acts).map(([reason, count]) => [`{reason="${reason}"}`, count])
  )
  family('ebb_released_bytes', 'counter', 'Anonymous memory given back.', [['', returned]])
  family('ebb_release_seconds', 'counter', 'Time of all give-backs.', [['', ms / 1000]])
  family('ebb_release_longest_pause_seconds', 'gauge', 'The longest pause of a give-back.', [['', longestPause / 1000]])
  family('ebb_release_expected_pause_seconds', 'gauge', 'The pause that a give-back would cause now.', [
    ['', expectedPause / 1000]
  ])
  family('ebb_releases_too_long', 'counter', 'Give-backs left undone, because they would have paused for too long.', [
    ['', tooLong]
  ])
  family('ebb_anonymous_bytes', 'gauge', 'Anonymous memory of the process.', [['', anonymous]])
  return `${lines.join('\n')}\n`
}
