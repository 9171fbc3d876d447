/** The statistics of a run as OpenMetrics text. */
import type { Causes } from './causes.js'
import type { Latencies, Latency } from './latencies.js'
import type { RunStats } from './watched-crowd.js'

/** Content type of the text. */
export const CONTENT_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** Memory of the server, bytes. */
export interface ServerMemory {
  anonymous: number
  resident: number
}

/** Upper bounds of the buckets of a histogram, ms. */
const BOUNDS = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000]

/** The end of a sample's name, with its labels, and its value. */
type Sample = [suffix: string, value: number]

/** Returns OpenMetrics text, with the closing `# EOF`. Units are bytes and seconds. */
export function openMetrics(stats: RunStats, latencies: Latencies, server: ServerMemory | null): string {
  const lines: string[] = []
  const family = (name: string, type: 'counter' | 'gauge' | 'histogram', help: string, samples: Sample[]): void => {
    lines.push(`# HELP ebb_pulse_${name} ${help}`, `# TYPE ebb_pulse_${name} ${type}`)
    for (const [suffix, value] of samples) lines.push(`ebb_pulse_${name}${suffix === '' ? '' : `_${suffix}`} ${value}`)
  }
  const counter = (name: string, help: string, value: number): void => family(name, 'counter', help, [['total', value]])
  const byCause = (name: string, help: string, causes: Causes): void =>
    family(
      name,
      'counter',
      help,
      Object.entries(causes).map(([cause, n]) => [`total{cause="${cause}"}`, n])
    )
  const histogram = (name: string, help: string, { corrected }: Pick<Latency, 'corrected'>): void => {
    const { count, sum } = corrected
    family(name, 'histogram', help, [
      ...BOUNDS.map((ms): Sample => [`bucket{le="${ms / 1000}"}`, count - corrected.countAbove(ms)]),
      ['bucket{le="+Inf"}', count],
      ['count', count],
      ['sum', sum / 1000]
    ])
  }
  const { causes, open, connected, late, replaced } = stats
  const { connects, answers } = latencies
  family('open_connections', 'gauge', 'Connections that are open now.', [['', open]])
  counter('connections', 'Connections that were opened.', connected)
  byCause('failed', 'Connects that failed, by cause.', causes.failed)
  byCause('lost', 'Connections that the server closed first, by cause.', causes.lost)
  byCause('unanswered', 'Answers that are missing or wrong, by cause.', causes.unanswered)
  counter('late', 'Connects that began more than 10 ms after their time.', late)
  counter('replaced', 'Connections that left and were replaced.', replaced)
  histogram('connect_seconds', 'Connect times, from the time that was meant.', connects)
  histogram('connect_uncorrected_seconds', 'Connect times, from the actual start.', { corrected: connects.uncorrected })
  histogram('answer_seconds', 'Times until each answer, from the time that was meant.', answers)
  if (server !== null) {
    family('server_anonymous_bytes', 'gauge', 'Anonymous memory of the server.', [['', server.anonymous]])
    family('server_resident_bytes', 'gauge', 'Resident memory of the server.', [['', server.resident]])
  }
  return `${lines.join('\n')}\n# EOF\n`
}
