/**
 * Tables of a page. A narrow window shows each row as a block: its label, then a line for each cell with the name of
 * the cell's column. The roles keep the elements a table for screen readers, which a style sheet with other displays
 * would undo.
 */
import { LIGHTS, type Light, type Reason, SIGNS, subjectOf } from '../rating.js'
import { escapeHtml } from './escape.js'

/** A cell of a table. */
export interface Cell {
  /** Name of its column, not escaped. A narrow window shows it beside the cell. */
  name: string
  /** What the cell shows, with all text escaped. */
  html: string
}

/** Returns a row that starts with a label and its meaning. */
export function figureRow(
  { label, meaning, main, spread }: { label: string; meaning: string; main?: true; spread?: true },
  cells: readonly Cell[]
): string {
  const kind = main ? 'main' : spread ? 'spread' : ''
  const head = `<span>${escapeHtml(label.trim())}</span> <small>${escapeHtml(meaning)}</small>`
  return row(head, cells, kind)
}

/** Returns a row. `head` is HTML. */
export function row(head: string, cells: readonly Cell[], kind = ''): string {
  const data = cells.map(({ name, html }) => `<td role="cell" data-name="${escapeHtml(name)}">${html}</td>`).join('')
  const kindClass = kind === '' ? '' : ` class="${kind}"`
  return `<tr role="row"${kindClass}><th scope="row" role="rowheader">${head}</th>${data}</tr>`
}

/**
 * Returns a table. With one column, it stays a table in a narrow window.
 *
 * @param kind class of the table
 * @param heads heads of the columns, HTML
 */
export function figureTable(kind: string, heads: readonly string[], rows: readonly string[]): string {
  const columns = heads.map((head) => `<th scope="col" role="columnheader">${head}</th>`).join('')
  const classes = heads.length > 1 ? `${kind} columns` : kind
  return (
    `<table role="table" class="${classes}"><thead role="rowgroup"><tr role="row"><th></th>${columns}</tr></thead>` +
    `<tbody role="rowgroup">${rows.join('')}</tbody></table>`
  )
}

/** Returns a box in which a table scrolls sideways if the window is too narrow for it. */
export function scrolling(label: string, table: string): string {
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escapeHtml(label)}">${table}</div>`
}

/** Returns a figure as HTML, with the colour, the sign and, for screen readers, the word of its light. */
export function marked(text: string, light: Light | null | undefined): string {
  const figure = escapeHtml(text)
  return light === null || light === undefined ? figure : `<span class="mark ${light}">${sign(light)} ${figure}</span>`
}

/** Returns a word as HTML, with a colour and a sign that says no more than the word. */
export function coloured(word: string, light: Light, mark: string): string {
  return `<span class="mark ${light}"><i aria-hidden="true">${mark}</i> ${escapeHtml(word)}</span>`
}

/** Returns what the signs mean, and why figures are fair or poor. */
export function reasonList(reasons: readonly Reason[]): string {
  const legend = LIGHTS.toReversed()
    .map((light) => `<span class="mark ${light}">${sign(light)} ${light}</span>`)
    .join(' ')
  const items = reasons.map((one) => {
    const { light, reason } = one
    return `<li><span class="mark ${light}">${sign(light)} ${light}</span> <strong>${escapeHtml(subjectOf(one))}:</strong> ${escapeHtml(reason)}</li>`
  })
  return `<p class="legend">${legend}</p>${items.length > 0 ? `<ul class="reasons">${items.join('')}</ul>` : ''}`
}

/** Returns the sign of a light. */
function sign(light: Light): string {
  return `<i role="img" aria-label="${light}">${SIGNS[light]}</i>`
}
