/**
 * Splits `n` connections over agents in proportion to their capacities, by the largest-remainder method.
 *
 * @returns one whole number per agent: at most its capacity, and within 1 of its exact share. Undefined if all
 *   capacities together are less than `n`
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
