/** Texts of live pages: figures in tiles, and charts in words for screen readers. */
import { escapeHtml } from '../report/page/escape.js'
import { chartBox, type Picture, ZOOM } from '../report/page/page.js'
import { pulsesOf } from '../report/phases.js'
import type { Run } from '../report/run.js'
import { duration, integer, megabytes } from '../units/format.js'
import { clean } from '../units/text.js'

/** A figure of a live page: the id of its element and what it is. */
export interface Tile {
  id: string
  term: string
}

/** Returns the body of a live page: a line on what happens now, figures, and the charts. */
export function liveBody(tiles: readonly Tile[], charts: readonly Picture[]): string {
  const list = tiles.map(({ id, term }) => `<div><dt>${escapeHtml(term)}</dt><dd id="${id}">-</dd></div>`).join('')
  return `<p class="phase" id="phase"></p>
<dl class="tiles">${list}</dl>
${charts.map(chartBox).join('')}
<p class="caption">${escapeHtml(ZOOM)}</p>`
}

/** Returns what happens to a server now: `Pulse 2 of 7: holding 10,000`. */
export function phaseOf(run: Pick<Run, 'recording'>, planned: number | null): string {
  const pulses = pulsesOf(run.recording)
  const pulse = pulses.at(-1)
  if (pulse === undefined) return 'At rest'
  const which = `Pulse ${pulses.length}${planned === null ? '' : ` of ${planned}`}`
  if (pulse.closedAt !== null) return `${which}: closed`
  if (pulse.closingAt !== null) return `${which}: closing`
  if (pulse.connectedAt !== null) return `${which}: holding ${integer(pulse.connected)}`
  return `${which}: connecting ${integer(pulse.n)}`
}

/** Returns the memory of servers in words. */
export function memoryInWords(runs: readonly Run[]): string {
  return runs
    .map(({ recording: { samples }, verdict }) => {
      const last = samples.at(-1)
      if (last === undefined) return `${clean(verdict.name)}: no sample yet`
      let most = 0
      for (const { anonymous } of samples) most = Math.max(most, anonymous)
      const { anonymous, resident, t } = last
      return `${clean(verdict.name)}, ${duration(t)}: anonymous ${megabytes(anonymous)}, at most ${megabytes(most)}; resident ${megabytes(resident)}`
    })
    .join('. ')
}

/** Returns the runtime's view of memory in words. */
export function runtimeInWords(runs: readonly Run[]): string {
  return runs
    .map(({ recording: { events }, verdict }) => {
      const last = events.findLast((event) => event.event === 'cycle' || event.event === 'runtime')
      if (last?.event !== 'cycle' && last?.event !== 'runtime') return `${clean(verdict.name)}: reports nothing`
      const { system, inuse, released } = last
      const clients = last.event === 'cycle' ? `, ${integer(last.clients)} clients` : ''
      return `${clean(verdict.name)}: system ${megabytes(system)}, in use ${megabytes(inuse)}, released ${megabytes(released)}${clients}`
    })
    .join('. ')
}
