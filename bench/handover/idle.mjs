/** Measures handovers of many idle connections: pauses, CPU time, and the memory of the new process. */
import { setTimeout as wait } from 'node:timers/promises'
import { megabytes, microseconds, milliseconds } from '../harness/figures.mjs'
import { handoverPath, startCrowd, startMember } from './members.mjs'
import { rowOf } from './table.mjs'

/** @import { Member } from './members.mjs' */
/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked, and those that connections get after a handover. */
const IDLE = 500
const GRACE = 5000
/** Connections that ask all the time, and ms between two requests. */
const PROBES = 100
const EVERY = 5
/** Milliseconds after a handover, until both processes are done with it. */
const SETTLE = 1000

/**
 * Hands over all connections `rounds` times.
 *
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function idle(n, rounds) {
  const options = /** @type {const} */ ({ mode: 'ebb', path: handoverPath(), idle: IDLE, grace: GRACE })
  let member = await startMember(options)
  const { port } = member
  const crowd = await startCrowd()
  const probe = await startCrowd()
  await crowd.ask('connect', port, n)
  await probe.ask('connect', port, PROBES)
  /** @type {(Handover & { usual: number, unserved: number })[]} */
  const results = []
  for (let round = 0; round < rounds; round++) {
    await member.until('stats', ({ parked }) => parked === n + PROBES)
    await member.ask('release')
    await probe.ask('probe', EVERY)
    await wait(SETTLE)
    const usual = await probe.ask('longest')
    const next = await startMember(options)
    const result = await compare(member, next, n)
    const unserved = await probe.ask('longest')
    await probe.ask('endProbe')
    await member.ask('stop')
    await member.end()
    member = next
    // Every connection answers.
    await crowd.ask('askAll')
    results.push({ ...result, usual, unserved })
  }
  const of = (/** @type {(result: typeof results[number]) => number} */ figure) => results.map(figure)
  return [
    rowOf(
      `old process blocked, ${n} connections`,
      of(({ before }) => before.block),
      milliseconds,
      150
    ),
    rowOf(
      'new process blocked',
      of(({ after }) => after.block),
      milliseconds,
      250
    ),
    rowOf(
      'longest wait of a client',
      of(({ unserved }) => unserved),
      milliseconds,
      250,
      [
        `a second without a handover: ${of(({ usual }) => usual)
          .map(milliseconds)
          .join(' ')}`
      ]
    ),
    rowOf(
      'CPU of the old process, each',
      of(({ before }) => (before.cpu * 1000) / n),
      microseconds,
      20
    ),
    rowOf(
      'CPU of the new process, each',
      of(({ after }) => (after.cpu * 1000) / n),
      microseconds,
      20
    ),
    rowOf(
      'memory of the new process over rest and rows',
      of(({ excess }) => excess),
      megabytes,
      1e6
    )
  ]
}

/**
 * What both processes tell of a handover.
 *
 * @typedef {Awaited<ReturnType<typeof compare>>} Handover
 */

/**
 * Waits until the handover is over for both processes.
 *
 * @param {Member} old
 * @param {Member} next
 * @param {number} n
 */
async function compare(old, next, n) {
  const after = await next.ask('handover')
  await wait(SETTLE)
  const before = await old.ask('handover')
  if ((after.from?.connections ?? 0) < n) throw new Error(`${after.from?.connections} connections were handed over`)
  await next.ask('release')
  const { bytesPerConnection, parked } = await next.ask('stats')
  const excess = (await next.ask('anonymous')) - (await next.ask('rest')) - bytesPerConnection * parked
  return { before, after, excess }
}
