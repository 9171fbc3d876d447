/** Process warnings for names that mean nothing to this package, because they are probably misspelt. */
import { shown, warn } from './errors.js'
import { nearest } from './nearest.js'

const warned = new Set<string>()
/** Number of warnings after which no more follow, for programs that make up names. */
const MOST_WARNINGS = 20

/**
 * Emits a process warning `EBB_UNKNOWN_OPTION` for each option that is not known, once for each name.
 *
 * @param taker what takes the options, for the message: `park()`
 * @param misspeltOnly whether to ignore names that are like none of the known ones, because they may be for others
 */
export function warnOfUnknown(options: object, known: readonly string[], taker: string, misspeltOnly = false): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !known.includes(name)) {
      warnOfName(name, known, `${taker} ignores the unknown option ${shown(name)}`, misspeltOnly)
    }
  }
}

/** Emits the warning for one name, once for each `problem`. */
function warnOfName(name: string, known: readonly string[], problem: string, misspeltOnly = false): void {
  const meant = nearest(name, known)
  if ((meant === undefined && misspeltOnly) || warned.has(problem) || warned.size >= MOST_WARNINGS) return
  warned.add(problem)
  const remedy = meant === undefined ? `the known ones are ${known.join(', ')}` : `did you mean ${meant}?`
  warn('EBB_UNKNOWN_OPTION', `${problem}: ${remedy}`)
}
