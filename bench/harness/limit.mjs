/**
 * Decides whether a figure is within its limit, from as few rounds as that takes.
 *
 * Other work on the machine spoils single rounds. So a round only votes: its ratio is within the limit, or above it.
 * The figure is decided when one side has {@link LEAD} votes more than the other. That is a sequential test, Wald's for
 * a share of votes: if a share `p` of the rounds is on the wrong side of the limit, the decision is wrong with
 * probability `1 / (1 + ((1 - p) / p) ** LEAD)`: 1 in 4,000 if every fifth round is spoilt, 1 in 160 if it is every
 * third. A figure far from its limit needs `LEAD` rounds, and only a figure near it needs more.
 */
import { median } from './figures.mjs'

/** Votes by which one side must lead. */
const LEAD = 6
/** Rounds after which the majority decides. */
const MOST = 40
/** A limit, as a multiple of the usual ratio: between none and the fifth that must not pass. */
const TOLERANCE = 1.1

/**
 * A figure that must not grow.
 *
 * @typedef {object} Limited
 * @property {string} name
 * @property {number} [usual] the ratio that was measured when the limit was set; the limit is 1.1 times as much
 * @property {number} [limit] for a figure that may be anything up to it, in place of `usual`
 * @property {number} [lead] votes by which one side must lead: fewer than {@link LEAD} for a figure that hardly varies
 */

/** The votes on one figure. */
export class Limit {
  name
  limit
  #usual
  #lead
  /** @type {number[]} */
  #ratios = []
  #votes = 0

  /** @param {Limited} limited */
  constructor({ name, usual = Number.NaN, limit = usual * TOLERANCE, lead = LEAD }) {
    this.name = name
    this.limit = limit
    this.#usual = usual
    this.#lead = lead
  }

  /**
   * Counts the vote of a round, unless the figure is decided. A ratio that could not be measured (NaN) is above the
   * limit.
   *
   * @param {number} ratio
   */
  add(ratio) {
    if (this.decided) return
    this.#ratios.push(ratio)
    this.#votes += ratio <= this.limit ? 1 : -1
  }

  /** Whether more rounds would change nothing. */
  get decided() {
    return Math.abs(this.#votes) >= this.#lead || this.#ratios.length >= MOST
  }

  /** Whether the figure is within the limit, as far as the rounds tell. */
  get kept() {
    return this.#votes > 0
  }

  /** Returns the figure in words: its median, the limit, and the rounds. */
  get line() {
    const middle = median(this.#ratios)
    const rounds = `${this.#ratios.length} rounds, ${two(Math.min(...this.#ratios))} to ${two(Math.max(...this.#ratios))}`
    const notes = [
      // A fifth more than such a ratio would be within the limit.
      ...(middle * TOLERANCE < this.#usual ? [`better than ${two(this.#usual)}, the usual: lower it`] : []),
      ...(this.kept ? [] : ['BROKEN'])
    ]
    const figure = `${this.name.padEnd(48)}${two(middle).padStart(5)}, at most ${two(this.limit)} (${rounds})`
    return [figure, ...notes].join(': ')
  }
}

const two = (/** @type {number} */ ratio) => ratio.toFixed(2)

/**
 * Measures rounds until every limit is decided.
 *
 * @template {string} N
 * @param {Readonly<Record<N, Limit>>} limits
 * @param {(round: number) => Promise<Readonly<Record<N, number>>>} measure resolves with the ratios of a round
 */
export async function decide(limits, measure) {
  const all = /** @type {[N, Limit][]} */ (Object.entries(limits))
  for (let round = 0; all.some(([, limit]) => !limit.decided); round++) {
    const ratios = await measure(round)
    for (const [name, limit] of all) limit.add(ratios[name])
  }
}
