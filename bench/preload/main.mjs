/** `npm run bench:preload`: {@link ABOUT}. */
import { spawnSync } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Child } from '../harness/child.mjs'
import { flag, readCommandLine } from '../harness/command-line.mjs'
import { median } from '../harness/figures.mjs'
import { idleMemory } from '../harness/idle-memory.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { alignColumns } from '../harness/table.mjs'

/** @import { CommonOrders } from '../harness/serve.mjs' */
/** @import { ClientOrders } from './programs/clients.mjs' */
/** @import { Start } from './tell.mjs' */

const ABOUT = `Measures what ebb/park costs and saves in programs that do not know of it: CPU time, memory and modules
  until they listen, and bytes of anonymous memory for each of 10,000 idle connections. Express runs with keep-alive
  connections, ws with WebSockets. The process without a server does nothing. Takes five minutes.`

const { quick } = readCommandLine({
  script: 'bench:preload',
  about: ABOUT,
  options: { quick: flag('Measure 2,000 connections and fewer starts.') },
  exit: 'Exit codes: 0; 1 for wrong options.'
})

const CONNECTIONS = quick ? 2000 : 10_000
const STARTS = quick ? 5 : 21
/** Rounds in which idle connections are measured. */
const ROUNDS = quick ? 1 : 5
/** Milliseconds until connections are parked, and then until the memory is looked at. */
const IDLE = 500
const QUIET = 3000

const SIDES = /** @type {const} */ ([
  { name: 'plain', flags: [] },
  { name: 'parked', flags: ['--import', 'ebb/park'] }
])
/** For the preload, and for all processes that are started from here. */
Object.assign(process.env, { EBB_PARK_IDLE: `${IDLE}ms`, EBB_PARK_LOG: '0' })

const PROGRAMS = /** @type {const} */ (['express', 'ws'])
const module = (/** @type {string} */ name) => new URL(`programs/${name}.mjs`, import.meta.url)

/**
 * Starts a program again and again, with and without the preload in turn.
 *
 * @param {readonly string[]} program
 */
function starts(program) {
  return interleave(SIDES, STARTS, async ({ flags }) => {
    const { stdout, stderr } = spawnSync(process.execPath, [...flags, ...program], { encoding: 'utf8' })
    if (stdout === '') throw new Error(stderr)
    return /** @type {Start} */ (JSON.parse(stdout))
  })
}

/**
 * Measures bytes for each idle connection.
 *
 * @param {(typeof PROGRAMS)[number]} program
 * @param {readonly string[]} execArgv
 */
async function idle(program, execArgv) {
  /** @type {Child<CommonOrders>} */
  const server = await Child.start(module(program), { execArgv })
  /** @type {Child<ClientOrders>} */
  const clients = await Child.start(module('clients'), { args: [program] })
  const side = {
    server,
    connect: async (/** @type {number} */ n) => void (await clients.ask('connect', server.port, n)),
    idle: () => wait(2 * IDLE),
    end: () => Promise.all([server.end(), clients.end()])
  }
  const { left, released } = await idleMemory(side, CONNECTIONS, QUIET)
  return { left: left / CONNECTIONS, released: released / CONNECTIONS }
}

const lines = [['', 'plain', 'ebb/park', 'ratio', 'spread']]

/**
 * Adds the line of a figure.
 *
 * @template R
 * @param {string} name
 * @param {Record<(typeof SIDES)[number]['name'], R[]>} results
 * @param {(result: R) => number} of
 * @param {number} [digits]
 */
function add(name, { plain, parked }, of, digits = 0) {
  const { ratio, ratioSpread } = ratioCells(differenceOf(parked, plain, of))
  lines.push([name, ...[plain, parked].map((all) => median(all.map(of)).toFixed(digits)), ratio, ratioSpread])
}

const NOTHING = [
  '--input-type=module',
  '--eval',
  `(await import(${JSON.stringify(new URL('tell.mjs', import.meta.url))})).tell()`
]
for (const name of ['no server', ...PROGRAMS]) {
  const results = await starts(name === 'no server' ? NOTHING : [fileURLToPath(module(name))])
  add(`${name}: CPU until it listens, ms`, results, ({ cpu }) => cpu, 1)
  add(`${name}: anonymous memory then, MB`, results, ({ anonymous }) => anonymous / 1e6, 1)
  add(`${name}: modules of Node`, results, ({ modules }) => modules)
}
for (const name of PROGRAMS) {
  const results = await interleave(SIDES, ROUNDS, ({ flags }) => idle(name, flags))
  add(`${name}: bytes for an idle connection, after a release`, results, ({ released }) => released)
  add(`${name}: bytes for an idle connection, 3 s after the last`, results, ({ left }) => left)
}
console.log(`Node ${process.version.slice(1)}, ${CONNECTIONS} connections`)
for (const line of alignColumns(lines, new Set([0]))) console.log(line)
