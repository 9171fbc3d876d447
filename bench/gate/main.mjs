/** `npm run bench:gate`: {@link ABOUT}. */
import { experiment } from 'ebb-lab'
import { fail, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { C, ebbServe, missing, nodeNet } from '../harness/servers.mjs'

/** @import { Verdict } from 'ebb-lab' */

const ABOUT = `Compares ebb serve with a C server (epoll) and with plain node:net in one run, as ratios with limits.
  Takes a minute and a half, and needs \`bench/install c\`.

  Each limit is about a fifth above the measured ratio. A busy machine stays below it; a figure that has become a third
  worse does not.`

/** Three large pulses give CPU times that are long enough for the kernel's resolution of 10 ms. */
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

/** @typedef {'cpuPerThousand' | 'hold' | 'footprint' | 'kept' | 'need' | 'retention' | 'release'} Figure */
/** @typedef {Record<Figure, number>} Figures */
/** @typedef {'C' | 'ebb' | 'net'} Name */

/** @type {readonly Figure[]} */
const FIGURES = ['cpuPerThousand', 'hold', 'footprint', 'kept', 'need', 'retention', 'release']

/**
 * The ratios, each of the best figures of two rounds, because other work on the machine can only add to a figure.
 * Memory is compared with the need of plain Node: it runs on the same runtime, and its need hardly varies.
 *
 * @type {readonly { name: string, of: (best: Record<Name, Figures>) => number, limit: number }[]}
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

readCommandLine({
  script: 'bench:gate',
  about: ABOUT,
  options: {},
  exit: 'Exit codes: 0 if every ratio is within its limit; 1 if one is not, or if the C server is missing.'
})

const absent = missing(C)
if (absent !== undefined) fail(`bench:gate: the C server cannot run: ${absent}`)

const targets = [
  { name: 'C', command: C.command },
  { name: 'ebb', command: ebbServe(process.execPath) },
  { name: 'net', command: nodeNet(process.execPath) }
]
/** @type {Verdict[]} */
const verdicts = []
for (let round = 0; round < ROUNDS; round++) {
  const measured = await experiment(orderOfRound(targets, round), { plan: PLAN })
  if (measured.failures > 0) console.error(`${measured.failures} connections failed or were lost`)
  verdicts.push(...measured.verdicts)
}
const best = { C: bestOf('C'), ebb: bestOf('ebb'), net: bestOf('net') }
const checked = RATIOS.map(({ name, of, limit }) => {
  const ratio = of(best)
  // NaN, a figure that could not be measured, is never within the limit.
  const kept = ratio <= limit
  console.log(`${name.padEnd(24)}${ratio.toFixed(2).padStart(6)}, at most ${limit.toFixed(2)}${kept ? '' : ': BROKEN'}`)
  return { figure: name, kept }
})
conclude(
  `ebb serve beside a C server and plain node:net, ${PLAN.iterations} pulses of ${PLAN.big} connections and ` +
    `${PLAN.pulses} of ${PLAN.small}, the best of ${ROUNDS} rounds.`,
  checked
)
if (checked.some(({ kept }) => !kept)) process.exitCode = 1

/**
 * Returns the lowest value of each figure of a server; NaN for a figure that a round could not measure.
 *
 * @param {Name} server
 */
function bestOf(server) {
  const own = verdicts.filter(({ name }) => name === server)
  return /** @type {Figures} */ (
    Object.fromEntries(
      FIGURES.map((figure) => [figure, Math.min(...own.map((verdict) => verdict[figure] ?? Number.NaN))])
    )
  )
}
