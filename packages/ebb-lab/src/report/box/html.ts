/** Writes the report on boxes as one HTML page. */
import type { BoxHeader, BoxServer } from '../../record/box/recording.js'
import { LINES_LEFT_OUT } from '../../record/notes.js'
import type { Recording } from '../../record/recording.js'
import { integer } from '../../units/format.js'
import { escapeHtml } from '../page/escape.js'
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
} from '../page/page.js'
import { figureRow, figureTable, marked, reasonList, scrolling, row as tableRow } from '../page/tables.js'
import { reasonsFor } from '../rating.js'
import { type Footnote, footnotes } from '../rows.js'
import { boxChart, relayoutBoxes } from './charts.js'
import type { JudgedBox, SummedBox } from './judged-box.js'
import { boxRows, type ServerColumn, type ServerRow, serverColumns, serverRows, stateOf } from './rows.js'
import { ratedServers } from './table.js'

/** Returns the whole page; see `renderPage()`. `header` is that of the first recording. */
export async function renderBoxHtml(
  boxes: readonly JudgedBox[],
  header: BoxHeader,
  notes: readonly string[] = []
): Promise<string> {
  return await renderPage(boxPage(boxes, header, notes))
}

/** Returns the parts of the page; see {@link renderBoxHtml}. */
export function boxPage(boxes: readonly JudgedBox[], header: BoxHeader, notes: readonly string[] = []): Page {
  const verdicts = boxes.map(({ verdict }) => verdict)
  const servers = serverRows(verdicts)
  const columns = serverColumns(verdicts)
  const marks = footnotes(servers.flat())
  const said = verdicts.flatMap(({ name, missing }) => missing.map((text) => `${name}: ${text}`))
  const chart = boxPicture(boxes)
  return {
    names: verdicts.map(({ name }) => name),
    // A file that is called box.yaml makes a box that is called "box".
    heading: header.name === 'box' ? 'The box' : `The box: ${header.name}`,
    lead: lead(boxes, header),
    body: `<section>
<h2>Verdict</h2>
${scrolling('Verdict', boxesTable(verdicts))}
</section>
${chartBox(chart)}
<p class="caption">${ZOOM}</p>
<noscript><p>The chart needs JavaScript. The file box.svg in the same folder shows the same.</p></noscript>
<section>
<h2>Servers</h2>
<p class="caption">${escapeHtml(columns.map(({ title, meaning }) => `${capital(title)}: ${meaning}.`).join(' '))}</p>
${verdicts.map(({ name }, i) => serversTable(name, servers[i] ?? [], columns, marks)).join('')}
${reasonList(reasonsFor(ratedServers(verdicts)))}
</section>
${noteList(marks, [...said, ...notes])}
<section>
<h2>Recordings</h2>
<div class="runs">${boxes.flatMap(({ run, verdict }) => run.servers.map((server) => facts(verdict.name, server))).join('')}</div>
</section>`,
    layouts: [relayoutBoxes(boxes, 1), relayoutBoxes(boxes, 2)],
    charts: [chart]
  }
}

/** Returns the chart of boxes. */
export function boxPicture(boxes: readonly SummedBox[]): Picture {
  return {
    ...boxChart(boxes, { interactive: true, columns: 2 }),
    id: 'box',
    caption:
      'Each area is a server: its anonymous memory and its part of the file pages that the servers share. Below are the ' +
      'connections of each server, each to its own scale. Peak of sums: the most that all servers held at one moment. ' +
      'Sum of peaks: the most that each server ever held, added up, which a box needs if its servers release nothing.'
  }
}

function lead(boxes: readonly JudgedBox[], header: BoxHeader): string {
  const servers = boxes[0]?.run.servers.length ?? 0
  const times = boxes.length > 1 ? ` in ${boxes.length} variants` : ''
  return `${integer(servers)} server${servers === 1 ? '' : 's'}${times}, recorded ${day(header.startedAt)}. ${header.kernel}, ${machine(header.machine)}.`
}

function boxesTable(verdicts: readonly JudgedBox['verdict'][]): string {
  const heads = verdicts.map(({ name }) => escapeHtml(name))
  const rows = boxRows(verdicts).map((row) =>
    figureRow(
      row,
      verdicts.map((verdict) => ({ name: verdict.name, html: escapeHtml(row.cell(verdict)) }))
    )
  )
  return figureTable('boxes', heads, rows)
}

function serversTable(
  name: string,
  rows: readonly ServerRow[],
  columns: readonly ServerColumn[],
  marks: readonly Footnote<ServerRow>[]
): string {
  const heads = [...columns.map(({ title }) => title), '']
  const lines = rows.map((row) => {
    const references = marks
      .filter(({ verdicts }) => verdicts.includes(row))
      .map(({ number }) => `<a href="#note-${number}">${number}</a>`)
    const sup = references.length > 0 ? `<sup>${references.join(' ')}</sup>` : ''
    const state = stateOf(row.server)
    const mark = state === '' ? '' : marked(state, 'poor')
    const figures = columns.map(({ title, cell, light }) => ({
      name: title,
      html: marked(cell(row.server), light?.(row.server))
    }))
    return tableRow(`${escapeHtml(row.name)}${sup}`, [...figures, { name: '', html: mark }])
  })
  return `<h3>${escapeHtml(name)}</h3>${scrolling(name, figureTable('servers', heads, lines))}`
}

/**
 * Returns the texts of a server's notes. The lines left out, which are noted every second, are added up in one text.
 */
function noteTexts({ events }: Recording): string[] {
  const notes = events.filter((event) => event.event === 'note')
  const others = notes.filter(({ code }) => code !== LINES_LEFT_OUT).map(({ text }) => text)
  const lines = notes.reduce((sum, note) => sum + (note.code === LINES_LEFT_OUT ? (note.lines ?? 0) : 0), 0)
  return lines === 0 ? others : [...others, `${integer(lines)} lines that the server printed are left out`]
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function facts(variant: string, { name, recording, load, governed, failure }: BoxServer): string {
  const rows: [string, string][] = [
    ['variant', escapeHtml(variant)],
    ['load', escapeHtml(load)],
    ['governed', governed ? 'with ebb/auto' : 'no']
  ]
  if (recording === null) rows.push(['never listened', escapeHtml(failure ?? '-')])
  else {
    const { command, runtime, pid } = recording.header
    const version = runtime === null ? '-' : `${runtime.name} ${runtime.version ?? ''}`
    rows.push(
      ['command', command === null ? '-' : `<code>${escapeHtml(command.map(quoted).join(' '))}</code>`],
      ['runtime', escapeHtml(version.trim())],
      ['process', escapeHtml(String(pid))],
      ['samples', escapeHtml(integer(recording.samples.length))],
      ...noteRows(noteTexts(recording), [], 'note')
    )
  }
  const list = rows.map(([term, value]) => `<dt>${term}</dt><dd>${value}</dd>`).join('')
  return `<article class="run"><h3>${escapeHtml(name)}</h3><dl>${list}</dl></article>`
}
