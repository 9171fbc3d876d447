/** The report as one HTML page that works offline: nothing is fetched, and nothing from a recording can run. */
import { createHash } from 'node:crypto'
import { type Chart, memoryChart, relayout, runtimeChart } from './charts.js'
import { echartsSource } from './echarts.js'
import { escapeHtml, scriptJson } from './escape.js'
import { integer } from './format.js'
import { PAGE_SCRIPT } from './page-script.js'
import { PAGE_STYLE } from './page-style.js'
import { DARK, LIGHT } from './palette.js'
import { type Footnote, footnotes, givesBack, rowsFor } from './rows.js'
import type { Run } from './run.js'
import { clean, fit } from './text.js'
import type { Verdict } from './verdict.js'

/**
 * The page, whole. `notes`: what has to be said of the report itself, one sentence each. Loads ECharts' source from
 * the installed package; rejects with the system's error where it cannot be read.
 */
export async function renderHtml(runs: readonly Run[], notes: readonly string[] = []): Promise<string> {
  // "</script" in a string of the bundle would end the element; in a string, the backslash changes nothing.
  const library = (await echartsSource()).replace(/<\/(script)/gi, '<\\/$1')
  const charts = pictures(runs)
  const verdicts = runs.map((run) => run.verdict)
  const marks = footnotes(verdicts)
  const names = verdicts.map((verdict) => verdict.name)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy([library, PAGE_SCRIPT], PAGE_STYLE)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(fit(clean(names.join(' and ')), 80))} - ebb report</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>What the spikes left behind</h1>
<p class="lead">${escapeHtml(lead(runs))}</p>
</header>
<section>
<h2>Verdict</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Verdict">${verdictTable(verdicts, marks)}</div>
</section>
${charts.map(chartBox).join('')}
<p class="caption">Drag the slider, or turn the wheel with Ctrl held, to zoom; click a name above a picture to hide its curve.</p>
<noscript><p>The charts need JavaScript; memory.svg and runtime.svg beside this page show the same.</p></noscript>
${noteList(marks, notes)}
<section>
<h2>Recordings</h2>
<div class="runs">${runs.map(facts).join('')}</div>
</section>
</main>
<script type="application/json" id="data">${scriptJson({
    names: names.map((name) => fit(clean(name), 60)),
    dark: darkFor(),
    layouts: [relayout(runs.length, 1), relayout(runs.length, 2)],
    charts: charts.map(({ id, option }) => ({ id, option }))
  })}</script>
<script>${library}</script>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`
}

/** Only the page's own scripts and style sheet, known by their hashes; no address at all may be fetched. */
function policy(scripts: string[], style: string): string {
  const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  return [
    "default-src 'none'",
    `script-src ${scripts.map(hash).join(' ')}`,
    `style-src ${hash(style)}`,
    "base-uri 'none'",
    "form-action 'none'"
  ].join('; ')
}

interface Picture extends Chart {
  id: string
  caption: string
}

function pictures(runs: readonly Run[]): Picture[] {
  return [
    {
      ...memoryChart(runs, { interactive: true }),
      id: 'memory',
      caption:
        'Shaded: connections held, and lighter while they are made and closed. Anonymous memory is what a spike really ' +
        'costs; the rest of resident memory has a file behind it. Need is what a fresh process holds under a small pulse.'
    },
    {
      ...runtimeChart(runs, { interactive: true }),
      id: 'runtime',
      caption:
        'System: what the runtime has from the operating system. In use: what its objects take. Released: what it has ' +
        "given back. Between the server's lines a value is drawn as it was last told."
    }
  ]
}

/** Every light colour and the dark one in its place. */
function darkFor(): Record<string, string> {
  return Object.fromEntries((Object.keys(LIGHT) as (keyof typeof LIGHT)[]).map((key) => [LIGHT[key], DARK[key]]))
}

function lead(runs: readonly Run[]): string {
  const header = runs[0]?.recording.header
  if (!header) return ''
  const servers = runs.length === 1 ? 'One server' : `${runs.length} servers`
  return `${servers}, recorded ${day(header.startedAt)}. ${header.kernel}, ${machine(header.machine)}.`
}

function day(startedAt: string): string {
  const time = new Date(startedAt)
  return Number.isNaN(time.getTime()) ? startedAt : `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

function machine({ cpus, memory, arch }: Run['recording']['header']['machine']): string {
  return `${cpus} CPU${cpus === 1 ? '' : 's'} (${arch}), ${(memory / 1e9).toFixed(1)} GB`
}

function verdictTable(verdicts: readonly Verdict[], marks: readonly Footnote[]): string {
  const heads = verdicts.map((verdict) => {
    const references = marks
      .filter((mark) => mark.verdicts.includes(verdict))
      .map((mark) => `<a href="#note-${mark.number}">${mark.number}</a>`)
    const sup = references.length > 0 ? `<sup>${references.join(' ')}</sup>` : ''
    const runtime = verdict.runtime === null ? '' : `<small>${escapeHtml(verdict.runtime)}</small>`
    return `<th scope="col">${escapeHtml(verdict.name)}${sup}${runtime}</th>`
  })
  const rows = rowsFor(verdicts).map((row) => {
    const cells = verdicts.map((verdict) => {
      const text = escapeHtml(row.cell(verdict))
      return `<td>${row.main ? `<span class="mark ${retentionClass(verdict)}">${text}</span>` : text}</td>`
    })
    return `<tr${row.main ? ' class="main"' : ''}><th scope="row"><span>${escapeHtml(row.label)}</span> <small>${escapeHtml(row.meaning)}</small></th>${cells.join('')}</tr>`
  })
  return `<table><thead><tr><th></th>${heads.join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`
}

function retentionClass(verdict: Verdict): string {
  const good = givesBack(verdict)
  return good === null ? '' : good ? 'good' : 'bad'
}

function chartBox({ id, title, caption }: Picture): string {
  const heading = escapeHtml(title)
  return `<section><h2>${heading}</h2><div class="chart" id="${id}" role="img" aria-label="${heading}"></div><p class="caption">${escapeHtml(caption)}</p></section>`
}

function noteList(marks: readonly Footnote[], notes: readonly string[]): string {
  if (marks.length + notes.length === 0) return ''
  const numbered = marks.map((mark) => {
    const names = mark.verdicts.map((verdict) => escapeHtml(verdict.name)).join(', ')
    return `<li id="note-${mark.number}"><strong>${names}:</strong> ${escapeHtml(mark.text)}</li>`
  })
  const list = numbered.length > 0 ? `<ol>${numbered.join('')}</ol>` : ''
  const plain = notes.length > 0 ? `<ul>${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join('')}</ul>` : ''
  return `<section><h2>Notes</h2>${list}${plain}</section>`
}

function facts(run: Run): string {
  const { recording, control, verdict } = run
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
    ...told(recording.notes, recording.events, 'note'),
    ...told(control?.notes ?? [], control?.events ?? [], 'note (control)')
  ]
  const list = rows.map(([term, value]) => `<dt>${term}</dt><dd>${value}</dd>`).join('')
  return `<article class="run"><h3>${escapeHtml(verdict.name)}</h3><dl>${list}</dl></article>`
}

/** More notes than this of one recording are counted, not shown. */
const MOST_NOTES = 12

function told(notes: readonly string[], events: Run['recording']['events'], term: string): [string, string][] {
  const texts = [...notes, ...events.flatMap((event) => (event.event === 'note' ? [event.text] : []))]
  const shown = texts.slice(0, MOST_NOTES).map((text): [string, string] => [term, escapeHtml(text)])
  const more = texts.length - shown.length
  return more > 0 ? [...shown, [term, `${integer(more)} more in the recording`]] : shown
}

/** As one would type it in a shell. */
function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`
}
