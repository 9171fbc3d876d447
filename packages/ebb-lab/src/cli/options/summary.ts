/** The option that adds a result to a file in Markdown, such as the summary of a job in CI. */
import { appendFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { codeOf, ReportError, reasonOf } from '../../units/errors.js'
import { ValueError } from './values.js'

/** Value of the option. */
export interface SummaryFlags {
  summary?: string
}

/** Adds the option to a command. */
export function summaryOption(command: Command): Command {
  return command.option(
    '--summary <file>',
    'add the result to a file in Markdown, such as "$GITHUB_STEP_SUMMARY"',
    parseSummary
  )
}

/** Refuses an empty name, which an unset variable leaves, and recordings. */
function parseSummary(text: string): string {
  if (text === '') throw new ValueError('it is empty: outside of GitHub Actions, give the name of a file')
  if (text.endsWith('.ndjson')) throw new ValueError('a recording would not be readable any more: give another file')
  return text
}

/**
 * Adds Markdown to the end of a file, after an empty line.
 *
 * @throws ReportError with the errno
 */
export async function addSummary(path: string, markdown: string): Promise<void> {
  try {
    await appendFile(path, `${markdown}\n\n`)
  } catch (error) {
    throw new ReportError(`cannot write the summary to ${path}: ${reasonOf(error)}`, codeOf(error), 'open', error)
  }
}
