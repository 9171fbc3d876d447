/** Renders an HTML page that works offline: it fetches nothing, and nothing from a recording can run as a script. */
import { createHash } from 'node:crypto'
import type { Header, RecordingEvent } from '../../record/recording.js'
import { integer } from '../../units/format.js'
import { clean, fit } from '../../units/text.js'
import { echartsSource } from '../charts/echarts.js'
import { DARK, LIGHT, SERVERS } from '../charts/palette.js'
import type { Chart } from '../charts/parts.js'
import { escapeHtml, scriptJson } from './escape.js'
import { PAGE_SCRIPT } from './script.js'
import { PAGE_STYLE } from './style.js'

/** The parts of a page. */
export interface Page {
  /** Names of the panels of its charts, which make up the title. */
  names: readonly string[]
  heading: string
  /** The result in one sentence. */
  headline?: string
  lead: string
  /** HTML, with all text escaped. */
  body: string
  /** Layouts of its charts in one column and in two. */
  layouts: Pick<Chart, 'option' | 'height'>[]
  charts: readonly Picture[]
}

/** A chart on a page. */
export interface Picture extends Chart {
  id: string
  caption: string
  /** Unit of each curve in tooltips, by its name: `count`, or text behind the number. Default: MB; clients: a count. */
  units?: Record<string, string>
}

/** The text under the charts. */
export const ZOOM =
  'To zoom, drag the slider, or hold Ctrl and turn the wheel. Click a name above a chart to hide its curve.'

/**
 * The page, whole. Loads ECharts' source from the installed package; rejects with the system's error where it cannot be
 * read.
 */
export async function renderPage(page: Page): Promise<string> {
  // A "</script" in a string of the bundle would end the element. In a string, the backslash changes nothing.
  const library = (await echartsSource()).replace(/<\/(script)/gi, '<\\/$1')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy([library, PAGE_SCRIPT], PAGE_STYLE)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(titleOf(page))}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
${contentOf(page)}
</main>
<script type="application/json" id="data">${scriptJson(drawingData(page))}</script>
<script>${library}</script>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`
}

/** Returns the title of a page, as text. */
export function titleOf({ names }: Page): string {
  return `${fit(clean(names.join(' and ')), 80)} - ebb report`
}

/** Returns the HTML of a page's main element. */
export function contentOf({ heading, headline, lead, body }: Page): string {
  const result = headline === undefined ? '' : `<p class="headline">${escapeHtml(headline)}</p>\n`
  return `<header>
<h1>${escapeHtml(heading)}</h1>
${result}<p class="lead">${escapeHtml(lead)}</p>
</header>
${body}`
}

/** What the script of a page draws. */
export interface DrawingData {
  /** Names of the panels. */
  names: string[]
  /** The dark colour for every light one. */
  dark: Record<string, string>
  /** Layouts in one column and in two. */
  layouts: Page['layouts']
  charts: Pick<Picture, 'id' | 'option' | 'units'>[]
}

/** Returns what the script of a page draws. */
export function drawingData({ names, layouts, charts }: Page): DrawingData {
  return {
    names: names.map((name) => fit(clean(name), 60)),
    dark: darkFor(),
    layouts,
    charts: charts.map(({ id, option, units }) => ({ id, option, ...(units !== undefined && { units }) }))
  }
}

/** Returns a policy that allows only the page's own scripts and style sheet, by their hashes, and no request at all. */
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

/** Returns the dark colour for every light one. */
function darkFor(): Record<string, string> {
  const keys = Object.keys(LIGHT) as (keyof typeof LIGHT)[]
  return Object.fromEntries([...keys.map((key) => [LIGHT[key], DARK[key]] as const), ...SERVERS])
}

/** Returns the section of a chart. */
export function chartBox({ id, title, caption }: Picture): string {
  const heading = escapeHtml(title)
  return `<section><h2>${heading}</h2><div class="chart" id="${id}" role="img" aria-label="${heading}"></div><p class="caption">${escapeHtml(caption)}</p></section>`
}

/** Returns the section of notes: those with numbers, which the table refers to, and others. */
export function noteList(
  marks: readonly { number: number; text: string; verdicts: readonly { name: string }[] }[],
  notes: readonly string[]
): string {
  if (marks.length + notes.length === 0) return ''
  const numbered = marks.map((mark) => {
    const names = [...new Set(mark.verdicts.map((verdict) => escapeHtml(verdict.name)))].join(', ')
    return `<li id="note-${mark.number}"><strong>${names}:</strong> ${escapeHtml(mark.text)}</li>`
  })
  const list = numbered.length > 0 ? `<ol>${numbered.join('')}</ol>` : ''
  const plain = notes.length > 0 ? `<ul>${notes.map((note) => `<li>${escapeHtml(note)}</li>`).join('')}</ul>` : ''
  return `<section><h2>Notes</h2>${list}${plain}</section>`
}

/** Returns a start time as `2026-03-14 09:26 UTC`. */
export function day(startedAt: string): string {
  const time = new Date(startedAt)
  return Number.isNaN(time.getTime()) ? startedAt : `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** Returns a machine as `2 CPUs (x64), 8.3 GB`. */
export function machine({ cpus, memory, arch }: Header['machine']): string {
  return `${cpus} CPU${cpus === 1 ? '' : 's'} (${arch}), ${(memory / 1e9).toFixed(1)} GB`
}

/** Notes of one recording that are shown. More are counted. */
const MOST_NOTES = 12

/** Returns the notes of a recording as rows of a list, escaped. */
export function noteRows(
  notes: readonly string[],
  events: readonly RecordingEvent[],
  term: string
): [string, string][] {
  const texts = [...notes, ...events.flatMap((event) => (event.event === 'note' ? [event.text] : []))]
  const shown = texts.slice(0, MOST_NOTES).map((text): [string, string] => [term, escapeHtml(text)])
  const more = texts.length - shown.length
  return more > 0 ? [...shown, [term, `${integer(more)} more in the recording`]] : shown
}

/** Quotes an argument as in a shell. */
export function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`
}
