/** Tells a difference of two sides from noise. */
import { median } from './figures.mjs'
import { pairedRatios } from './interleave.mjs'

/**
 * Pairs without which nothing is told apart: the least and the greatest of five enclose the median in 94 % of cases.
 */
const FEWEST_PAIRS = 5
/** Probability with which an interval may lie to one side of the median. */
const ONE_SIDE = 1 / 32

/**
 * A figure that was measured in several rounds.
 *
 * @typedef {object} Spread
 * @property {number} median
 * @property {number} low
 * @property {number} high `low` to `high` is where the median of many rounds lies, with a probability of at least 93 %
 */

/**
 * A comparison of two sides.
 *
 * @typedef {Spread & { noise: boolean }} Difference ratios of one side to the other. `noise` if they do not show that
 *   the sides differ, because `low` to `high` covers 1 or there are fewer than {@link FEWEST_PAIRS} pairs
 */

/**
 * Returns the median, and the interval that it lies in: the values that are left if as many of the least and of the
 * greatest are taken away as chance allows. Nothing is assumed of how the values are distributed, so a spoilt round
 * does not widen the interval of many rounds.
 *
 * @param {readonly number[]} values
 * @returns {Spread}
 */
export function spreadOf(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const cut = cutOf(sorted.length)
  return {
    median: median(sorted),
    low: sorted[cut] ?? Number.NaN,
    high: sorted[sorted.length - 1 - cut] ?? Number.NaN
  }
}

/**
 * Compares the rounds of one side with the same rounds of the other side.
 *
 * @template T
 * @param {readonly T[]} rounds
 * @param {readonly T[]} others as many rounds
 * @param {(round: T) => number} figure
 * @returns {Difference}
 */
export function differenceOf(rounds, others, figure) {
  const spread = spreadOf(pairedRatios(rounds, others, figure))
  const apart = spread.low > 1 || spread.high < 1
  return { ...spread, noise: rounds.length < FEWEST_PAIRS || !apart }
}

/**
 * Returns a spread in words: `0.95-1.03`.
 *
 * @param {Spread} spread
 * @param {(value: number) => string} format
 */
export function spreadText({ low, high }, format) {
  return `${format(low)}-${format(high)}`
}

/**
 * Returns the cells of a comparison: its ratio, and its spread with the word `noise` if the sides do not differ.
 *
 * @param {Difference} difference
 */
export function ratioCells(difference) {
  const spread = spreadText(difference, hundredths)
  return { ratio: hundredths(difference.median), ratioSpread: difference.noise ? `${spread}, noise` : spread }
}

const hundredths = (/** @type {number} */ ratio) => ratio.toFixed(2)

/**
 * Returns how many of the least values, and of the greatest, lie outside of the interval: the most with which fewer
 * than {@link ONE_SIDE} of all samples lie to one side of the median. That many heads in `n` throws of a coin are as
 * rare.
 *
 * @param {number} n
 */
function cutOf(n) {
  let cut = 0
  let probability = 0.5 ** n
  for (let sum = probability; ; cut++) {
    probability *= (n - cut) / (cut + 1)
    sum += probability
    if (sum > ONE_SIDE || 2 * (cut + 1) >= n) return cut
  }
}
