/**
 * The Mann-Whitney U test: whether the values of one sample tend to be higher than those of another. It assumes no
 * distribution, so it fits memory and times, which have outliers, and values that are infinite.
 *
 * H. B. Mann and D. R. Whitney, On a test of whether one of two random variables is stochastically larger than the
 * other, Annals of Mathematical Statistics 18 (1947), 50-60. benchstat and Google Benchmark's compare.py use it, too.
 */

/**
 * Returns the two-sided p-value: the probability of ranks as far apart as these, or further, if both samples come from
 * one distribution. Exact, also with ties, which share the mean of their ranks.
 */
export function rankTest(a: readonly number[], b: readonly number[]): number {
  const ranks = doubledRanks([...a, ...b])
  const mean = a.length * (a.length + b.length + 1)
  const sum = ranks.slice(0, a.length).reduce((total, rank) => total + rank, 0)
  const distance = Math.abs(sum - mean)
  let [far, all] = [0, 0]
  for (const [other, ways] of waysToSum(ranks, a.length).entries()) {
    all += ways
    if (Math.abs(other - mean) >= distance) far += ways
  }
  return far / all
}

/** Returns twice the rank of each value, so that the mean of two ranks is a whole number. */
function doubledRanks(values: readonly number[]): number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length
    const equal = values.filter((other) => other === value).length
    return 2 * below + equal + 1
  })
}

/** Returns in how many ways `count` of the ranks add up to each sum. */
function waysToSum(ranks: readonly number[], count: number): Float64Array {
  const total = ranks.reduce((sum, rank) => sum + rank, 0)
  const ways = Array.from({ length: count + 1 }, () => new Float64Array(total + 1))
  const first = ways[0] as Float64Array
  first[0] = 1
  for (const rank of ranks) {
    for (let chosen = count; chosen > 0; chosen--) {
      const [to, from] = [ways[chosen] as Float64Array, ways[chosen - 1] as Float64Array]
      for (let sum = total; sum >= rank; sum--) to[sum] = (to[sum] as number) + (from[sum - rank] as number)
    }
  }
  return ways[count] as Float64Array
}
