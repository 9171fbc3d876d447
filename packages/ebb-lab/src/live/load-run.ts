/** The live page of `ebb pulse`: what it opens, and how long that takes. */
import type { LevelStep } from '../pulse/drive.js'
import type { PulseEvent } from '../pulse/pulse.js'
import type { RunStats } from '../pulse/watched-crowd.js'
import { MOST_POINTS } from '../report/charts/parts.js'
import { relayout } from '../report/charts/picture.js'
import { thin } from '../report/charts/thin.js'
import { escapeHtml } from '../report/page/escape.js'
import { chartBox, type Picture, ZOOM } from '../report/page/page.js'
import { duration, integer, megabytes } from '../units/format.js'
import { clean } from '../units/text.js'
import { type LoadPoint, loadCharts } from './load-charts.js'
import { liveBody, type Tile } from './texts.js'
import type { LiveView } from './view.js'

const FIGURES: ((point: LoadPoint) => number | null)[] = [
  ({ open }) => open,
  ({ rate }) => rate,
  ({ connect }) => connect?.p99 ?? null,
  ({ answer }) => answer?.p99 ?? null,
  ({ memory }) => memory?.anonymous ?? null
]

const TILES: readonly Tile[] = [
  { id: 'now-time', term: 'time' },
  { id: 'now-open', term: 'open' },
  { id: 'now-rate', term: 'connects/s' },
  { id: 'now-p50', term: 'p50' },
  { id: 'now-p99', term: 'p99' },
  { id: 'now-failed', term: 'failed' },
  { id: 'now-lost', term: 'lost' },
  { id: 'now-late', term: 'late' },
  { id: 'now-server', term: 'server' }
]

/** Collects statistics of a run, and returns what its page shows. */
export class LoadRun {
  readonly #server: string
  readonly #startedAt = new Date()
  #points: LoadPoint[] = []
  #last: RunStats | undefined
  #phase = ''
  #rows: readonly (readonly [string, string])[] | undefined

  /** @param server what the connections go to, as it was typed */
  constructor(server: string) {
    this.#server = server
  }

  addStats(stats: RunStats, memory: LoadPoint['memory']): void {
    const { t, open, rate, latency, answers } = stats
    this.#last = stats
    this.#points.push({ t, open, rate, connect: latency, answer: answers, memory })
    if (this.#points.length >= MOST_POINTS)
      this.#points = thin(this.#points, MOST_POINTS / 2, FIGURES, (point) => point.t)
  }

  /** Takes an event of pulses. */
  onEvent(event: PulseEvent): void {
    const { index, size, n } = event.pulse
    const what = {
      pulse: `connecting ${integer(n)}`,
      progress: `connecting ${integer(n)}`,
      connected: `holding ${integer(event.event === 'connected' ? event.opened.connected : n)}`,
      closing: 'closing',
      closed: 'closed'
    }
    this.#phase = `Pulse ${index + 1} (${size}): ${what[event.event]}`
  }

  /** Takes a level of a shape. */
  onLevel({ connections, open }: LevelStep): void {
    this.#phase = `${integer(open)} of ${integer(connections)} open`
  }

  /** From now on, shows the result, in rows of a name and a value. */
  finish(rows: readonly (readonly [string, string])[]): void {
    this.#rows = rows
  }

  /** Returns what the page shows now. */
  view(): LiveView {
    const charts = loadCharts(this.#points, this.#server)
    const rows = this.#rows
    return {
      names: [this.#server],
      heading: 'Load on the server',
      lead: `${clean(this.#server)}, since ${this.#startedAt.toISOString().slice(0, 16).replace('T', ' ')} UTC.`,
      body: rows === undefined ? liveBody(TILES, charts) : resultBody(rows, charts),
      layouts: [relayout(1, 1), relayout(1, 2)],
      charts,
      state: rows === undefined ? 'running' : 'finished',
      status: rows === undefined ? `Load on ${clean(this.#server)}` : 'The run has ended',
      texts: rows === undefined ? this.#texts() : {},
      labels: this.#labels(charts)
    }
  }

  #texts(): Record<string, string> {
    const stats = this.#last
    if (stats === undefined) return { phase: this.#phase }
    const shown = stats.answers ?? stats.latency
    const memory = this.#points.at(-1)?.memory
    return {
      phase: this.#phase,
      'now-time': duration(stats.t),
      'now-open': integer(stats.open),
      'now-rate': integer(stats.rate),
      'now-p50': duration(shown?.p50 ?? null),
      'now-p99': duration(shown?.p99 ?? null),
      'now-failed': integer(stats.failed),
      'now-lost': integer(stats.lost),
      'now-late': integer(stats.late),
      'now-server': megabytes(memory?.anonymous ?? null)
    }
  }

  #labels(charts: readonly Picture[]): Record<string, string> {
    const { latency = null, answers = null, open = 0, rate = 0 } = this.#last ?? {}
    const memory = this.#points.at(-1)?.memory
    const quantiles = (name: string, of: { p50: number; p99: number } | null): string =>
      of === null ? '' : ` ${name}: p50 ${duration(of.p50)}, p99 ${duration(of.p99)}.`
    const words: Record<string, string> = {
      connections: `Connections. ${integer(open)} open, ${integer(rate)} connects per second.`,
      latency: `Latency.${quantiles('Connect', latency)}${quantiles('Answer', answers)}`,
      'server-memory': `Memory of the server. Anonymous ${megabytes(memory?.anonymous ?? null)}, resident ${megabytes(memory?.resident ?? null)}.`
    }
    return Object.fromEntries(charts.map(({ id, title }) => [id, words[id] ?? title]))
  }
}

/** Returns the body of the page of a run that has ended: its result, and the charts. */
function resultBody(rows: readonly (readonly [string, string])[], charts: readonly Picture[]): string {
  const lines = rows.map(
    ([name, value]) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`
  )
  return `<section>
<h2>Result</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Result"><table><tbody>${lines.join('')}</tbody></table></div>
</section>
${charts.map(chartBox).join('')}
<p class="caption">${escapeHtml(ZOOM)}</p>`
}
