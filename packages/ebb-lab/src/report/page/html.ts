/** Writes the report on servers as one HTML page. */

import { integer } from '../../units/format.js'
import { memoryChart } from '../charts/memory-chart.js'
import { relayout } from '../charts/picture.js'
import { runtimeChart } from '../charts/runtime-chart.js'
import type { Comparison } from '../compare/compare.js'
import { comparisonSection } from '../compare/html.js'
import { headline } from '../headline.js'
import { reasonsFor } from '../rating.js'
import { type Footnote, footnotes, rowsFor } from '../rows.js'
import type { Run } from '../run.js'
import type { Verdict } from '../verdict.js'
import { escapeHtml } from './escape.js'
import {
  chartBox,
  day,
  machine,
  noteList,
  noteRows,
  type Page,
  type Picture,
  quoted,
  renderPage,
  ZOOM
} from './page.js'
import { figureRow, figureTable, marked, reasonList, scrolling } from './tables.js'

/**
 * Returns the whole page. Rejects with the system's error if ECharts cannot be read from the installed package.
 *
 * @param notes sentences about the report itself
 * @param comparisons with earlier recordings
 */
export async function renderHtml(
  runs: readonly Run[],
  notes: readonly string[] = [],
  comparisons: readonly Comparison[] = []
): Promise<string> {
  return await renderPage(reportPage(runs, notes, comparisons))
}

/** Returns the parts of the page; see {@link renderHtml}. */
export function reportPage(
  runs: readonly Run[],
  notes: readonly string[] = [],
  comparisons: readonly Comparison[] = []
): Page {
  const charts = pictures(runs)
  const verdicts = runs.map((run) => run.verdict)
  const marks = footnotes(verdicts)
  const names = verdicts.map((verdict) => verdict.name)
  return {
    names,
    heading: 'What the spikes left behind',
    headline: headline(verdicts),
    lead: lead(runs),
    body: `<section>
<h2>Verdict</h2>
${scrolling('Verdict', verdictTable(verdicts, marks))}
${reasonList(reasonsFor(verdicts.map((verdict) => ({ name: verdict.name, verdict }))))}
</section>
${comparisonSection(comparisons)}
${charts.map(chartBox).join('')}
<p class="caption">${ZOOM}</p>
<noscript><p>The charts need JavaScript. The files memory.svg and runtime.svg in the same folder show the same.</p></noscript>
${noteList(marks, notes)}
<section>
<h2>Recordings</h2>
<div class="runs">${runs.map(facts).join('')}</div>
</section>`,
    layouts: [relayout(runs.length, 1), relayout(runs.length, 2)],
    charts
  }
}

/** Returns the charts of servers. */
export function pictures(runs: readonly Run[]): Picture[] {
  return [
    {
      ...memoryChart(runs, { interactive: true }),
      id: 'memory',
      caption:
        'Shaded: connections are held; lighter: they are being opened or closed. Anonymous memory is what a spike costs; ' +
        'the rest of resident memory is backed by files. Need is what a fresh process holds during a small pulse.'
    },
    {
      ...runtimeChart(runs, { interactive: true }),
      id: 'runtime',
      caption:
        'System: memory that the runtime has from the operating system. In use: what its objects take. Released: what it ' +
        'has returned. Between two reports of the server, the last value is drawn.'
    }
  ]
}

function lead(runs: readonly Run[]): string {
  const header = runs[0]?.recording.header
  if (!header) return ''
  const servers = runs.length === 1 ? 'One server' : `${runs.length} servers`
  return `${servers}, recorded ${day(header.startedAt)}. ${header.kernel}, ${machine(header.machine)}.`
}

function verdictTable(verdicts: readonly Verdict[], marks: readonly Footnote[]): string {
  const heads = verdicts.map((verdict) => {
    const references = marks
      .filter((mark) => mark.verdicts.includes(verdict))
      .map((mark) => `<a href="#note-${mark.number}">${mark.number}</a>`)
    const sup = references.length > 0 ? `<sup>${references.join(' ')}</sup>` : ''
    const runtime = verdict.runtime === null ? '' : `<small>${escapeHtml(verdict.runtime)}</small>`
    return `${escapeHtml(verdict.name)}${sup}${runtime}`
  })
  const rows = rowsFor(verdicts).map((row) => {
    const cells = verdicts.map((verdict) => ({
      name: verdict.name,
      html: marked(row.cell(verdict), row.light?.(verdict))
    }))
    return figureRow(row, cells)
  })
  return figureTable('verdict', heads, rows)
}

function facts(run: Run): string {
  const { recording, control, verdict, shown } = run
  const { header } = recording
  const every = `status every ${header.every.status} ms, smaps_rollup every ${header.every.smaps} ms`
  const rows: [string, string][] = [
    ['command', header.command === null ? '-' : `<code>${escapeHtml(header.command.map(quoted).join(' '))}</code>`],
    ['runtime', escapeHtml(verdict.runtime ?? '-')],
    ['process', escapeHtml(String(header.pid))],
    ['started', escapeHtml(day(header.startedAt))],
    ['kernel', escapeHtml(header.kernel)],
    ['machine', escapeHtml(machine(header.machine))],
    ['samples', escapeHtml(`${integer(recording.samples.length)}; ${every}`)],
    ['control', escapeHtml(control ? `process ${control.header.pid}, ${day(control.header.startedAt)}` : 'none')],
    ...noteRows(recording.notes, recording.events, 'note'),
    ...noteRows(control?.notes ?? [], control?.events ?? [], 'note (control)')
  ]
  if (shown !== undefined) {
    rows.unshift(['runs', `${verdict.runs}; the pictures show run ${shown}, whose memory kept is the median`])
  }
  const list = rows.map(([term, value]) => `<dt>${term}</dt><dd>${value}</dd>`).join('')
  return `<article class="run"><h3>${escapeHtml(verdict.name)}</h3><dl>${list}</dl></article>`
}
