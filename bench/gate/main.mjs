/** `npm run bench:gate`: {@link ABOUT}. */
import { endChildren } from '../harness/child.mjs'
import { fail, readCommandLine, selection } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { C, missing } from '../harness/servers.mjs'
import { connects } from './connects.mjs'
import { idle, pulses } from './memory.mjs'
import { requests } from './requests.mjs'
import { wakes } from './wakes.mjs'

/** @import { Limit } from '../harness/limit.mjs' */

const ABOUT = `Catches what has become a fifth worse: CPU time and memory of ebb serve, and of connections behind park() the
  memory, the time to wake, and requests a second. Compares them with a C server and with plain Node in the same run,
  as ratios with limits.

  A ratio is measured in short rounds, until the rounds within the limit lead clearly, or those above it: six rounds if
  it is far from its limit, more if it is near. Takes two minutes, and needs \`bench/install c\`.`

/** The parts, each of which measures some of the ratios. */
const PARTS = {
  connects,
  pulses,
  idle,
  'wakes-http': () => wakes('http', { latency: 1.44, cpu: 1.75 }),
  'wakes-tcp': () => wakes('tcp', { latency: 1.35, cpu: 1.58 }),
  requests
}
const NAMES = /** @type {(keyof typeof PARTS)[]} */ (Object.keys(PARTS))

const { only: names = NAMES } = readCommandLine({
  script: 'bench:gate',
  about: ABOUT,
  options: { only: selection('NAME,NAME', `Run some of the parts: ${NAMES.join(', ')}.`, 'part', NAMES) },
  exit: 'Exit codes: 0 if every ratio is within its limit; 1 if one is not, or if the C server is missing.'
})

const absent = missing(C)
if (absent !== undefined) fail(`bench:gate: the C server cannot run: ${absent}`)

/** @type {Limit[]} */
const limits = []
try {
  for (const name of names) {
    const decided = await PARTS[name]()
    for (const { line } of decided) console.log(line)
    limits.push(...decided)
  }
} finally {
  await endChildren()
}
conclude(
  'ebb serve beside a C server and plain node:net, and park() beside plain Node, in rounds that take turns.',
  limits.map(({ name, kept }) => ({ figure: name, kept }))
)
if (limits.some(({ kept }) => !kept)) process.exitCode = 1
