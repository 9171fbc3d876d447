/**
 * `npm run bench:gate`: `ebb serve` against the C peer and against plain `node:net`, in one run, as ratios with limits.
 *
 * A limit stands about a fifth above what is measured: room for a busy machine, and a figure that has become a third worse breaks it.
 * Needs `bench/install c`. Takes a minute and a half. Ends with 1 when a limit is broken.
 */
import { experiment } from 'ebb-lab'
import { C, ebbServe, missing, nodeNet } from '../peers/list.mjs'

/** Enough connections for a CPU time that hundredths of a second can tell, in as little time as the servers need to settle. */
const PLAN = {
  big: 5000,
  iterations: 3,
  bigSeparation: 1500,
  small: 500,
  smallSeparation: 300,
  linger: 600,
  pulses: 3
}
const ROUNDS = 2

/**
 * Of the best that each server did: what else a machine does only adds. Memory is set against what plain Node needs: it is the same
 * runtime, and that hardly varies.
 */
const RATIOS = [
  { name: 'CPU, ebb / C', of: ({ C, ebb }) => ebb.cpuPerThousand / C.cpuPerThousand, limit: 1.95 },
  { name: 'CPU, ebb / net', of: ({ ebb, net }) => ebb.cpuPerThousand / net.cpuPerThousand, limit: 0.55 },
  { name: 'hold, ebb / need of net', of: ({ ebb, net }) => ebb.hold / net.need, limit: 0.92 },
  { name: 'footprint, ebb / net', of: ({ ebb, net }) => ebb.footprint / net.footprint, limit: 0.05 },
  { name: 'kept, ebb / need of net', of: ({ ebb, net }) => ebb.kept / net.need, limit: 0.9 },
  { name: 'retention of ebb', of: ({ ebb }) => ebb.retention, limit: 1.05 },
  { name: 'release time of ebb, s', of: ({ ebb }) => ebb.release / 1000, limit: 2 }
]

const absent = missing(C)
if (absent !== undefined) {
  console.error(`the C peer: ${absent}`)
  process.exit(1)
}
const targets = [
  { name: 'C', command: C.command },
  { name: 'ebb', command: ebbServe(process.execPath) },
  { name: 'net', command: nodeNet(process.execPath) }
]
const rounds = []
for (let round = 0; round < ROUNDS; round++) {
  const order = round % 2 === 0 ? targets : targets.toReversed()
  const { verdicts, failures } = await experiment(order, { plan: PLAN })
  if (failures > 0) console.error(`${failures} connections failed or were lost`)
  rounds.push(verdicts)
}
const best = Object.fromEntries(
  targets.map(({ name }) => [name, bestOf(rounds.flat().filter((one) => one.name === name))])
)
for (const { name, of, limit } of RATIOS) {
  const ratio = of(best)
  // Written this way round, a figure that is not a number is broken, too.
  const kept = ratio <= limit
  if (!kept) process.exitCode = 1
  console.log(`${name.padEnd(24)}${ratio.toFixed(2).padStart(6)}, at most ${limit.toFixed(2)}${kept ? '' : ': BROKEN'}`)
}

/** The least of each figure. */
function bestOf(verdicts) {
  const figures = ['cpuPerThousand', 'hold', 'footprint', 'kept', 'need', 'retention', 'release']
  return Object.fromEntries(
    figures.map((figure) => [figure, Math.min(...verdicts.map((verdict) => verdict[figure] ?? NaN))])
  )
}
