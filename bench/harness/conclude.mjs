import { writeFileSync } from 'node:fs'

/**
 * A limit, and whether the figure kept it.
 *
 * @typedef {object} Checked
 * @property {string} figure
 * @property {boolean} kept
 */

/**
 * Prints to standard error what a benchmark measured, and how many of its figures are within their limits. If
 * `EBB_BENCH_LIMITS` names a file, writes the limits to it as JSON, for a program that runs the benchmark.
 *
 * @param {string} measured a sentence
 * @param {readonly Checked[] | undefined} limits undefined for a benchmark without limits
 */
export function conclude(measured, limits) {
  const file = process.env.EBB_BENCH_LIMITS
  if (file !== undefined) writeFileSync(file, JSON.stringify(limits ?? []))
  console.error(
    `\nMeasured: ${measured}\nLimits: ${limits === undefined ? 'none; the figures are for comparison.' : count(limits)}`
  )
}

/** @param {readonly Checked[]} limits */
function count(limits) {
  const missed = limits.filter(({ kept }) => !kept).map(({ figure }) => figure)
  const kept = `${limits.length - missed.length} of ${limits.length} kept`
  return missed.length === 0 ? `${kept}.` : `${kept}; not kept: ${missed.join('; ')}.`
}
