/** Writes comparisons as a section of the page. */
import { escapeHtml } from '../page/escape.js'
import { coloured, figureTable, row, scrolling } from '../page/tables.js'
import type { Comparison } from './compare.js'
import { CHANGE_LIGHTS, CHANGE_SIGNS, cellsOf, methodOf, summaryOf, titleOf } from './words.js'

/** Returns the section; an empty string without comparisons. */
export function comparisonSection(comparisons: readonly Comparison[]): string {
  if (comparisons.length === 0) return ''
  const parts = comparisons.map((comparison) => {
    const rows = cellsOf(comparison).map(({ label, before, now, relative, change, word }) => {
      const light = CHANGE_LIGHTS[change]
      const html =
        light === null ? escapeHtml(`${CHANGE_SIGNS[change]} ${word}`) : coloured(word, light, CHANGE_SIGNS[change])
      const cell = (name: string, text: string): { name: string; html: string } => ({ name, html: escapeHtml(text) })
      return row(`<span>${escapeHtml(label)}</span>`, [
        cell('before', before),
        cell('now', now),
        cell('change', relative),
        { name: '', html }
      ])
    })
    const title = titleOf(comparison)
    const table = figureTable('comparison', ['before', 'now', 'change', ''], rows)
    return `<h3>${escapeHtml(title)}</h3><p>${escapeHtml(summaryOf(comparison))}</p>${scrolling(title, table)}`
  })
  const methods = [...new Set(comparisons.map(methodOf))].map(
    (method) => `<p class="caption">${escapeHtml(method)}</p>`
  )
  return `<section>\n<h2>Compared with before</h2>\n${parts.join('')}${methods.join('')}\n</section>`
}
