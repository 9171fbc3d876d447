/** A result in Markdown, for the summary of a job in CI: headline, table, comparison, limits and notes. */
import { boxMarkdown } from './box/table.js'
import type { BoxVerdict } from './box/verdict.js'
import type { Comparison } from './compare/compare.js'
import { comparisonMarkdown } from './compare/table.js'
import { headline } from './headline.js'
import { escapeMarkdown, markdownTable } from './table.js'
import type { Verdict } from './verdict.js'

/** What {@link summary} writes. */
export interface SummaryParts {
  verdicts?: readonly Verdict[]
  comparisons?: readonly Comparison[]
  boxes?: readonly BoxVerdict[]
  /** A sentence for each limit that was exceeded. */
  broken: readonly string[]
  /** Remarks, one sentence each. */
  notes: readonly string[]
}

/** Returns a result in GitHub's Markdown. Names are escaped. */
export function summary({ verdicts = [], comparisons = [], boxes = [], broken, notes }: SummaryParts): string {
  const list = (sentences: readonly string[], sign = ''): string =>
    sentences.map((sentence) => `- ${sign}${escapeMarkdown(sentence)}`).join('\n')
  const parts = [
    `### ebb${verdicts.length > 0 ? `: ${escapeMarkdown(headline(verdicts))}` : ''}`,
    list(broken, '❌ '),
    verdicts.length > 0 ? markdownTable(verdicts) : '',
    comparisons.length > 0 ? `#### Compared with before\n\n${comparisonMarkdown(comparisons)}` : '',
    boxes.length > 0 ? boxMarkdown(boxes) : '',
    list(notes)
  ]
  return parts.filter((part) => part !== '').join('\n\n')
}
