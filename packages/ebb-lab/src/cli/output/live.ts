/** How a run is, as a person watches it: a small table on a terminal, a line every ten seconds elsewhere. */
import type { ServerMemory } from '../../pulse/open-metrics.js'
import type { RunStats } from '../../pulse/watched-crowd.js'
import { duration, integer, megabytes } from '../../units/format.js'
import type { Terminal } from './terminal.js'

/** Milliseconds between two lines where there is no terminal. */
const PLAIN_INTERVAL = 10_000
/** Width of the columns. All fit into 80. */
const WIDTHS = [10, 12, 11, 11, 8, 8, 8, 11]

/** Shows a heading, and below it the statistics of a run. */
export class Live {
  readonly #terminal: Terminal
  #heading = ''
  #table: string[] = []
  #nextLine = PLAIN_INTERVAL

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  /** Prints a line that stays above the table. */
  line(text: string): void {
    this.#terminal.line(text)
    this.#draw()
  }

  /** Shows what the run does now. */
  heading(text: string): void {
    this.#heading = text
    this.#draw()
  }

  /** Shows new statistics. */
  stats(stats: RunStats, server: ServerMemory | null): void {
    this.#table = tableOf(stats, server)
    this.#draw()
    if (this.#terminal.isInteractive || stats.t < this.#nextLine) return
    this.#nextLine = stats.t + PLAIN_INTERVAL
    this.#terminal.line(plainLine(stats, server))
  }

  #draw(): void {
    this.#terminal.status([this.#heading, ...this.#table])
  }
}

/** Returns the header of the table and its values. */
export function tableOf(stats: RunStats, server: ServerMemory | null): string[] {
  const { answers, latency, open, rate, failed, lost, late } = stats
  const shown = answers ?? latency
  const which = answers === null ? '' : 'answer '
  const cells: [string, string][] = [
    ['open', integer(open)],
    ['connects/s', integer(rate)],
    [`${which}p50`, duration(shown?.p50 ?? null)],
    [`${which}p99`, duration(shown?.p99 ?? null)],
    ['failed', integer(failed)],
    ['lost', integer(lost)],
    ['late', integer(late)],
    ['server', megabytes(server?.anonymous ?? null)]
  ]
  const row = (which: 0 | 1): string => cells.map((cell, i) => cell[which].padStart(WIDTHS[i] as number)).join('')
  return [row(0), row(1)]
}

/** Returns the statistics as a sentence: `12.0 s: 9,876 open, 120 connects/s, p50 0.3 ms, p99 2.1 ms, 3 failed`. */
export function plainLine(stats: RunStats, server: ServerMemory | null): string {
  const { t, open, rate, answers, latency, failed, lost, late } = stats
  const shown = answers ?? latency
  const which = answers === null ? '' : 'answer '
  const parts = [`${integer(open)} open`, `${integer(rate)} connects/s`]
  if (shown !== null) parts.push(`${which}p50 ${duration(shown.p50)}`, `p99 ${duration(shown.p99)}`)
  for (const [name, n] of Object.entries({ failed, lost, late })) if (n > 0) parts.push(`${integer(n)} ${name}`)
  if (server !== null) parts.push(`server ${megabytes(server.anonymous)}`)
  return `${duration(t)}: ${parts.join(', ')}`
}
