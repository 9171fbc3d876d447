/** Measures what clients notice of restarts under load: with a handover, and of plain Node's graceful restart. */
import { setTimeout as wait } from 'node:timers/promises'
import { Child } from '../harness/child.mjs'
import { milliseconds, whole } from '../harness/figures.mjs'
import { handoverPath, startMember } from './members.mjs'

/** @import { Member } from './members.mjs' */
/** @import { LoadOrders } from './programs/load.mjs' */
/** @import { Result } from './programs/tally.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked, and those that connections get after a handover. */
const IDLE = 200
const GRACE = 3000
/** Milliseconds of load before the first restart, between two, and after the last one. */
const BETWEEN = 1500
/** The longest that a client may wait for a restart, in ms. */
const MOST_EXTRA = 250

const LOAD = new URL('programs/load.mjs', import.meta.url)

/**
 * @param {number} idle connections that ask nothing between the restarts
 * @param {number} restarts
 * @returns {Promise<Row[]>}
 */
export async function restarts(idle, restarts) {
  const ebb = await run('ebb', idle, restarts)
  const plain = await run('plain', idle, restarts)
  return [
    {
      figure: `${restarts} restarts under load: failed exchanges`,
      ...cells(ebb, plain, ({ failed }) => failed, 0)
    },
    { figure: 'answers with wrong bytes', ...cells(ebb, plain, ({ wrong }) => wrong, 0) },
    { figure: 'connections closed', ...cells(ebb, plain, ({ closed }) => closed, 0) },
    {
      figure: 'longest extra wait',
      value: milliseconds(longest(ebb)),
      plain: milliseconds(longest(plain)),
      aim: `at most ${MOST_EXTRA} ms`,
      reached: longest(ebb) <= MOST_EXTRA,
      notes: ebb.map(({ name, exchanges }, i) => {
        const other = /** @type {Result} */ (plain[i])
        return `${name}: ${whole(exchanges)} exchanges; ebb ${told(ebb[i])}; plain Node ${told(other)}`
      })
    }
  ]
}

/** @param {Result | undefined} result */
function told(result) {
  if (result === undefined) return '-'
  const { failed, wrong, closed, longest, usual, first } = result
  const counts = [`${failed} failed`, `${wrong} wrong`, `${closed} closed`].join(', ')
  return `${counts}, ${milliseconds(longest)} (${milliseconds(usual)} before)${first === '' ? '' : `: ${first}`}`
}

/** @param {readonly Result[]} results */
const longest = (results) => Math.max(...results.map((result) => result.longest))

/**
 * @param {readonly Result[]} ebb
 * @param {readonly Result[]} plain
 * @param {(result: Result) => number} of
 * @param {number} most
 */
function cells(ebb, plain, of, most) {
  const sum = (/** @type {readonly Result[]} */ results) => results.reduce((total, result) => total + of(result), 0)
  return { value: whole(sum(ebb)), plain: whole(sum(plain)), aim: String(most), reached: sum(ebb) <= most }
}

/**
 * Ends a process when its last connection is gone. Connections that outlive the grace end with it.
 *
 * @param {Member} old
 */
async function end(old) {
  await Promise.race([old.ask('stop'), wait(GRACE + BETWEEN)])
  await old.end()
}

/**
 * Restarts a server under load.
 *
 * @param {'ebb' | 'plain'} mode
 * @param {number} idle
 * @param {number} restarts
 */
async function run(mode, idle, restarts) {
  const path = handoverPath()
  const options = { mode, path, idle: IDLE, grace: GRACE, webSockets: true }
  let member = await startMember(options)
  const ports = await member.ask('ports')
  /** @type {Child<LoadOrders>} */
  const load = await Child.start(LOAD)
  await load.ask('start', ports.web, ports.echo, idle)
  await wait(BETWEEN)
  await load.ask('beginRestarts')
  const ended = []
  for (let restart = 0; restart < restarts; restart++) {
    const next = await startMember({ ...options, port: ports.web, echoPort: ports.echo })
    ended.push(end(member))
    member = next
    await wait(BETWEEN)
  }
  await Promise.all(ended)
  const results = await load.ask('stop')
  await load.end()
  await member.end()
  return results
}
