/** How many connections each agent makes. */

/**
 * Splits `n` by capacity: whole numbers, none above its capacity, in proportion to within 1 (largest remainders). Undefined when all
 * together have not enough.
 */
export function split(n: number, capacities: readonly number[]): number[] | undefined {
  const all = capacities.reduce((sum, capacity) => sum + capacity, 0)
  if (n > all) return undefined
  if (n === 0) return capacities.map(() => 0)
  const exact = capacities.map((capacity) => (n * capacity) / all)
  const parts = exact.map(Math.floor)
  let left = n - parts.reduce((sum, part) => sum + part, 0)
  const byRemainder = exact.map((part, i) => ({ i, remainder: part - Math.floor(part) }))
  byRemainder.sort((a, b) => b.remainder - a.remainder)
  for (const { i } of byRemainder) {
    if (left === 0) break
    if ((parts[i] as number) === (capacities[i] as number)) continue
    parts[i] = (parts[i] as number) + 1
    left--
  }
  return parts
}
