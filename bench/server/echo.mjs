/**
 * Measures the echo of the handlers of `listen()` beside that of `node:net`, in messages per second, and beside that of
 * a C server, which shows how much of the difference the kernel leaves.
 */
import { Child } from '../harness/child.mjs'
import { median, rate } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells } from '../harness/paired.mjs'
import { startCrowd, startServer } from '../harness/plain-sides.mjs'
import { installed, missing } from '../harness/servers.mjs'

/** @import { ServerOrders } from '../harness/plain-sides.mjs' */
/** @import { Row } from './table.mjs' */

const CONNECTIONS = 100
/** Milliseconds of messages that are not counted. */
const WARM_UP = 1000
const AIM = 1.5

const C_ECHO = installed('bin/echo')

/**
 * @typedef {object} Round
 * @property {number} perSecond messages
 * @property {number} server CPU time for a message, us
 * @property {number} client the same for the clients
 */

/** @typedef {'ebb' | 'plain' | 'C'} Name */

/** @type {Record<Name, () => Promise<Child<Pick<ServerOrders, 'cpu'>>>>} */
const SERVERS = {
  ebb: () => startServer('listen-server'),
  plain: () => startServer('net-server', 'plain', {}),
  C: () => Child.run([C_ECHO])
}

/**
 * @param {number} rounds
 * @param {number} ms of each round
 * @returns {Promise<Row[]>}
 */
export async function echo(rounds, ms) {
  const absent = missing({ needs: [C_ECHO], install: 'c' })
  /** @type {Name[]} */
  const names = absent === undefined ? ['ebb', 'plain', 'C'] : ['ebb', 'plain']
  const started = []
  try {
    const sides = []
    for (const name of names) {
      const server = await SERVERS[name]()
      started.push(server)
      const crowd = await startCrowd('tcp')
      started.push(crowd)
      sides.push({ name, server, crowd })
      await crowd.ask('connect', server.port, CONNECTIONS)
      await crowd.ask('pingPong', WARM_UP)
    }
    const measured = await interleave(sides, rounds, async ({ server, crowd }) => {
      const before = await server.ask('cpu')
      const { total, perSecond, cpu } = await crowd.ask('pingPong', ms)
      return { perSecond, server: (1000 * ((await server.ask('cpu')) - before)) / total, client: (1000 * cpu) / total }
    })
    return [rowOf(measured, absent)]
  } finally {
    for (const child of started) await child.end()
  }
}

/**
 * @param {Record<Name, Round[]>} measured `C` is missing if the program is
 * @param {string | undefined} absent why it is
 * @returns {Row}
 */
function rowOf(measured, absent) {
  const { ebb, plain } = measured
  const perSecond = (/** @type {Round} */ round) => round.perSecond
  const ratio = differenceOf(ebb, plain, perSecond)
  const sides = Object.entries(measured)
  return {
    figure: `echo of listen(), ${CONNECTIONS} connections`,
    ebb: rate(median(ebb.map(perSecond))),
    plain: rate(median(plain.map(perSecond))),
    ...ratioCells(ratio),
    aim: `at least ${AIM} x plain`,
    reached: ratio.median >= AIM,
    notes: [
      absent === undefined
        ? `messages a second of the C server, of plain: ${told(differenceOf(measured.C, plain, perSecond))}`
        : `no C server: ${absent}`,
      `CPU for a message, of plain: ${sides
        .filter(([name]) => name !== 'plain')
        .map(([name, rounds]) => `${name} ${told(differenceOf(rounds, plain, ({ server }) => server))}`)
        .join(', ')}`,
      `CPU for a message, server and client: ${sides
        .map(([name, rounds]) => `${name} ${micro(rounds, 'server')} and ${micro(rounds, 'client')}`)
        .join(', ')}`
    ]
  }
}

/** @param {ReturnType<typeof differenceOf>} difference */
function told(difference) {
  const { ratio, ratioSpread } = ratioCells(difference)
  return `${ratio} (${ratioSpread})`
}

/**
 * @param {readonly Round[]} rounds
 * @param {'server' | 'client'} key
 */
function micro(rounds, key) {
  return `${median(rounds.map((round) => round[key])).toFixed(1)} us`
}
