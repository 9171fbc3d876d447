/** Counts by cause, for a person. */
import { type Causes, total } from '../../pulse/causes.js'

/** `ECONNREFUSED 20, ETIMEDOUT 1`: the most frequent first. */
export function causes(by: Causes): string {
  const entries = Object.entries(by).sort(([, a], [, b]) => b - a)
  return entries.map(([cause, n]) => `${cause} ${n}`).join(', ')
}

/** `21 (ECONNREFUSED 20, ETIMEDOUT 1)` */
export function counted(by: Causes): string {
  return total(by) === 0 ? '0' : `${total(by)} (${causes(by)})`
}
