/** Numbers of connections: what `{id}` stands for in texts. */

/**
 * Numbers of the connections of one of several agents. The first `count` connections have the numbers from `first` on.
 * Further ones have `next`, `next + step`, ...
 */
export interface IdRange {
  first: number
  count: number
  next: number
  step: number
}

/** Returns the number in the run of connection `n` of an agent, which counts from 0 on. */
export function idIn({ first, count, next, step }: IdRange, n: number): number {
  return n < count ? first + n : next + (n - count) * step
}

/**
 * Returns the numbers of the connections of each agent. All numbers differ, also if an agent makes more connections
 * than its share. As long as none does, they are those below the sum of the shares.
 */
export function idRanges(shares: readonly number[]): IdRange[] {
  const all = shares.reduce((sum, share) => sum + share, 0)
  let first = 0
  return shares.map((count, i) => {
    const range = { first, count, next: all + i, step: shares.length }
    first += count
    return range
  })
}
