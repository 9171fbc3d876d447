/** The options of `ebb report` that compare recordings with earlier ones. */
import type { Command } from 'commander'
import { COMPARED, type ComparedFigure, type Comparison, FEWEST, lacksRuns } from '../../report/compare/compare.js'
import type { ReportOptions } from '../../report/report.js'
import { parseShare, ValueError } from './values.js'

/** Values of the options. */
export interface ComparisonFlags {
  against?: string[]
  threshold?: number
  failOn?: readonly ComparedFigure[]
}

/** Adds the options to a command. */
export function comparisonOptions(command: Command): Command {
  return command
    .optionsGroup('Comparison:')
    .option('--against <file...>', 'compare with these earlier recordings, or those in a folder; give it last')
    .option('--threshold <share>', 'smallest difference that matters (default: 5%)', parseShare)
    .option(
      '--fail-on <figures>',
      'exit 3 if one of these figures is worse: "worse" for all, or names such as retention,peak',
      parseFigures
    )
}

/** Parses which figures may not be worse. */
function parseFigures(text: string): readonly ComparedFigure[] {
  if (text === 'worse') return COMPARED
  const names = text.split(',').map((name) => name.trim())
  const unknown = names.find((name) => !(COMPARED as readonly string[]).includes(name))
  if (unknown !== undefined) {
    throw new ValueError(`${JSON.stringify(unknown)} is no figure: give "worse", or some of ${COMPARED.join(', ')}`)
  }
  return names as ComparedFigure[]
}

/**
 * Returns the recordings to compare with, as an option.
 *
 * @param servers number of recordings of servers that were given
 * @param sort tells recordings of boxes from those of servers
 * @throws ValueError if boxes are to be compared, or an option has no comparison
 */
export async function againstOf(
  { against, threshold, failOn }: ComparisonFlags,
  servers: number,
  sort: (paths: readonly string[]) => Promise<{ boxFiles: string[]; serverFiles: string[] }>
): Promise<Pick<ReportOptions, 'against' | 'threshold'>> {
  if (against === undefined) {
    const alone = threshold !== undefined ? '--threshold' : failOn !== undefined ? '--fail-on' : undefined
    if (alone !== undefined) throw new ValueError(`${alone} is for a comparison: add --against FILE`)
    return {}
  }
  const { boxFiles, serverFiles } = await sort(against)
  if (servers === 0 || boxFiles.length > 0) {
    throw new ValueError('--against compares recordings of single servers: leave out those of ebb box')
  }
  return { against: serverFiles, ...(threshold !== undefined && { threshold }) }
}

/**
 * Checks that figures which may not be worse can be told from noise, unless the command fails already.
 *
 * @throws ValueError if a side has a single run
 */
export function checkRuns(comparisons: readonly Comparison[], { failOn = [] }: ComparisonFlags): void {
  const uncertain = comparisons.find((comparison) => lacksRuns(comparison, failOn))
  if (uncertain === undefined || process.exitCode !== undefined) return
  const { name, runs } = uncertain
  throw new ValueError(
    `--fail-on: ${name} has ${runs.now === 1 ? 'a single run' : `${runs.now} runs`}, and ${runs.before} before, so a ` +
      `difference cannot be told from noise: measure at least ${FEWEST} times on each side (ebb bench --runs 5)`
  )
}
