/** Writes comparisons as tables, for a terminal and in Markdown. */
import { clean, textWidth, wrap } from '../../units/text.js'
import { ansi, escapeMarkdown, type Paint, plain, type TableOptions } from '../table.js'
import type { Change, Comparison } from './compare.js'
import { CHANGE_LIGHTS, CHANGE_SIGNS, type ChangeCells, cellsOf, methodOf, summaryOf, titleOf } from './words.js'

const NARROWEST = 32
const GAP = 2

/** Writes comparisons as plain text: a table for each server, with a line for each figure. */
export function comparisonTable(comparisons: readonly Comparison[], options: TableOptions = {}): string {
  const width = Math.max(NARROWEST, Math.floor(options.width ?? 80))
  const paint = options.colour ? ansi : plain
  const blocks = comparisons.map((comparison) =>
    [
      ...wrap(clean(titleOf(comparison)), width),
      ...linesOf(cellsOf(comparison), width, paint),
      ...wrap(clean(summaryOf(comparison)), width)
    ].join('\n')
  )
  const methods = [...new Set(comparisons.map(methodOf))].map((method) => wrap(method, width).join('\n'))
  return [...blocks, ...methods].join('\n\n')
}

function linesOf(cells: readonly ChangeCells[], width: number, paint: Paint): string[] {
  const rows = cells.map((cell) => [cell.label, cell.before, cell.now, cell.relative])
  const heads = ['', 'before', 'now', '']
  const widths = heads.map((head, i) => Math.max(...[head, ...rows.map((row) => row[i] ?? '')].map(textWidth)))
  const lineOf = (row: readonly string[]): string =>
    row.map((text, i) => (i === 0 ? text + pad(text, widths[0]) : pad(text, widths[i]) + text)).join(' '.repeat(GAP))
  const last = Math.max(0, ...cells.map(({ word }) => textWidth(word) + 2))
  const whole = widths.reduce((sum, one) => sum + one + GAP, 0) + last
  if (whole > width) return cells.flatMap((cell) => sentences(cell, width, paint))
  return [
    lineOf(heads).trimEnd(),
    ...cells.map((cell, i) => `${lineOf(rows[i] ?? [])}${' '.repeat(GAP)}${marked(cell, cell.word, paint)}`)
  ]
}

/** Returns a figure as a sentence, for a terminal that is too narrow for the table. */
function sentences(cell: ChangeCells, width: number, paint: Paint): string[] {
  const by = cell.relative === '' ? '' : ` (${cell.relative})`
  const text = `${cell.label}: ${cell.before}, now ${cell.now}${by}, ${cell.word}`
  return wrap(text, width - 2).map((line, i) => (i === 0 ? marked(cell, line, paint) : `  ${line}`))
}

function marked({ change }: { change: Change }, text: string, paint: Paint): string {
  const light = CHANGE_LIGHTS[change]
  const sign = `${CHANGE_SIGNS[change]} ${text}`
  return light === null ? sign : paint(sign, light)
}

function pad(text: string, width = 0): string {
  return ' '.repeat(Math.max(0, width - textWidth(text)))
}

/** Signs of changes in Markdown, where text has no colour. */
const MARKDOWN: Record<Change, string> = { better: '✅', worse: '❌', noise: '', unknown: '❔' }

/** Writes comparisons in Markdown: a table for each server. */
export function comparisonMarkdown(comparisons: readonly Comparison[]): string {
  const tables = comparisons.map((comparison) => {
    const rows = cellsOf(comparison).map(({ label, before, now, relative, change, word }) => [
      escapeMarkdown(label),
      escapeMarkdown(before),
      escapeMarkdown(now),
      relative,
      `${MARKDOWN[change]} ${word}`.trim()
    ])
    const lines = [['figure', 'before', 'now', 'change', ''], ['---', '---:', '---:', '---:', '---'], ...rows]
    return [
      `**${escapeMarkdown(titleOf(comparison))}**`,
      lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n'),
      escapeMarkdown(summaryOf(comparison))
    ].join('\n\n')
  })
  return [...tables, ...[...new Set(comparisons.map(methodOf))].map(escapeMarkdown)].join('\n\n')
}
