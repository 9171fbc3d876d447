/** Formats numbers of failures by their cause. */
import { type Causes, total } from '../../pulse/causes.js'

/** Formats counts by cause, the most frequent first: `ECONNREFUSED 20, ETIMEDOUT 1`. */
export function causes(by: Causes): string {
  const entries = Object.entries(by).sort(([, a], [, b]) => b - a)
  return entries.map(([cause, n]) => `${cause} ${n}`).join(', ')
}

/** Formats a total with its causes: `21 (ECONNREFUSED 20, ETIMEDOUT 1)`. */
export function counted(by: Causes): string {
  return total(by) === 0 ? '0' : `${total(by)} (${causes(by)})`
}
