/** With the governor and without it, in turn. */
const SIDES = ['with', 'without']

/** The sides in the order of that round: the first is with and without the governor in turn. */
const inTurn = (round) => (round % 2 === 0 ? SIDES : SIDES.toReversed())

/** `work` for each side, `rounds` times. An array for each side. */
export async function interleave(rounds, work) {
  const results = { with: [], without: [] }
  for (let round = 0; round < rounds; round++) {
    for (const side of inTurn(round)) results[side].push(await work({ side, governed: side === 'with' }, round))
  }
  return results
}

/** `work` for both sides at the same time. */
export async function together(work) {
  const [governed, without] = await Promise.all(SIDES.map((side) => work({ side, governed: side === 'with' })))
  return { with: governed, without }
}

/** Of each round's figure with the governor, over the one without. */
export function ratios(results, figure) {
  return results.with.map((round, i) => figure(round) / figure(results.without[i]))
}
