/** Counts by cause: why connects failed, and why connections were lost. */

/**
 * Number of occurrences by cause. A cause is the name of an errno, `FIN` for a connection that the server closed, or
 * `ETIMEDOUT` for our own time limit.
 */
export type Causes = Record<string, number>

/** Adds `by` occurrences of a cause. Does nothing if `by` is 0. */
export function count(causes: Causes, cause: string, by = 1): void {
  if (by > 0) causes[cause] = (causes[cause] ?? 0) + by
}

/** Returns the sum over all causes. */
export function total(causes: Causes): number {
  return Object.values(causes).reduce((sum, n) => sum + n, 0)
}

/** Adds the counts of `from` to `to`. */
export function addCauses(to: Causes, from: Causes): void {
  for (const [cause, n] of Object.entries(from)) count(to, cause, n)
}

/** Returns the most frequent causes, at most `max` of them. The rest is added up as `OTHER`. */
export function mostFrequent(causes: Causes, max: number): Causes {
  const all = Object.entries(causes)
  if (all.length <= max) return causes
  all.sort(([, a], [, b]) => b - a)
  const kept = Object.fromEntries(all.slice(0, max - 1))
  for (const [, n] of all.slice(max - 1)) count(kept, 'OTHER', n)
  return kept
}
