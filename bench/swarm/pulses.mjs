/** Part one: four agents in network namespaces, a server in a fifth, NATS in the root namespace. */
import { SwarmOfMachines } from './machines.mjs'

/** @import { Checked } from '../harness/conclude.mjs' */

/** Server processes that share the port. */
const SERVERS = 3
/** Milliseconds between the first and the last start of an agent. */
const MOST_SPREAD = 20

/**
 * Prints a line for each pulse and resolves with the limits.
 *
 * @param {number} runs
 * @param {number} connections
 * @returns {Promise<Checked[]>}
 */
export async function pulses(runs, connections) {
  /** @type {Checked[]} */
  const checked = []
  const swarm = new SwarmOfMachines()
  try {
    await swarm.start(SERVERS)
    console.log(
      '| run | connected | failed | connects/s | started within, measured | as told by the report | histogram of raw samples |'
    )
    console.log('| ---: | ---: | ---: | ---: | ---: | ---: | --- |')
    for (let run = 1; run <= runs; run++) {
      const { report, samples, spread, sameHistogram } = await swarm.pulse(connections)
      const { connected, failed, connectsPerSecond, swarm: reported } = report
      const failures = Object.values(failed).reduce((sum, n) => sum + n, 0)
      const cells = [
        run,
        connected,
        failures,
        Math.round(connectsPerSecond),
        ms(spread),
        `${ms(reported?.spread ?? null)} (± ${ms(reported?.error ?? null)})`,
        `${sameHistogram ? 'equal' : 'another'}, ${samples}`
      ]
      console.log(`| ${cells.join(' | ')} |`)
      checked.push(
        { figure: `run ${run}: ${connected} of ${connections} connected`, kept: connected === connections },
        { figure: `run ${run}: agents started within ${ms(spread)}`, kept: spread <= MOST_SPREAD },
        { figure: `run ${run}: merged histogram equals that of the raw samples`, kept: sameHistogram }
      )
    }
  } finally {
    await swarm.dispose()
  }
  console.log('\nNo connection was left after any run, and no process at the end.\n')
  return checked
}

/** @param {number | null} value */
function ms(value) {
  return value === null ? '-' : `${value.toFixed(1)} ms`
}
