/**
 * Runs the sides of a comparison in turn.
 *
 * A machine is not equally fast from one minute to the next, so each round measures every side, and each round reverses
 * the order of the round before it. The ratio of two sides is computed within a round, and the median is taken over
 * the rounds.
 */

/**
 * Returns the items in the order of a round: forwards in even rounds, backwards in odd ones.
 *
 * @template T
 * @param {readonly T[]} items
 * @param {number} round counted from 0
 * @returns {readonly T[]}
 */
export function orderOfRound(items, round) {
  return round % 2 === 0 ? items : items.toReversed()
}

/**
 * Calls `work` for one side after the other, `rounds` times, and resolves with the results of each side by its name.
 *
 * @template {{ readonly name: string }} S
 * @template R
 * @param {readonly S[]} sides
 * @param {number} rounds
 * @param {(side: S, round: number) => Promise<R>} work
 * @returns {Promise<Record<S['name'], R[]>>}
 */
export async function interleave(sides, rounds, work) {
  /** @type {Map<string, R[]>} */
  const results = new Map(sides.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const side of orderOfRound(sides, round)) results.get(side.name)?.push(await work(side, round))
  }
  return byName(results)
}

/**
 * Calls `work` for all sides at the same time and resolves with the result of each side by its name.
 *
 * @template {{ readonly name: string }} S
 * @template R
 * @param {readonly S[]} sides
 * @param {(side: S) => Promise<R>} work
 * @returns {Promise<Record<S['name'], R>>}
 */
export async function together(sides, work) {
  const results = await Promise.all(sides.map(async (side) => /** @type {const} */ ([side.name, await work(side)])))
  return byName(new Map(results))
}

/**
 * Divides the figure of each round of one side by the figure of the same round of the other side.
 *
 * @template T
 * @param {readonly T[]} rounds
 * @param {readonly T[]} others as many rounds
 * @param {(round: T) => number} figure
 * @returns {number[]}
 */
export function pairedRatios(rounds, others, figure) {
  if (rounds.length !== others.length) {
    throw new RangeError(`cannot pair ${rounds.length} rounds with ${others.length} rounds`)
  }
  return rounds.map((round, i) => figure(round) / figure(/** @type {T} */ (others[i])))
}

/**
 * @template {string} N
 * @template R
 * @param {Map<string, R>} results
 */
function byName(results) {
  return /** @type {Record<N, R>} */ (Object.fromEntries(results))
}
