/** Measures how connections survive `kill -9` of their process, and the memory of their keeper. */
import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { megabytes, milliseconds } from '../harness/figures.mjs'
import { startCrowd } from './members.mjs'
import { Supervised } from './supervised.mjs'
import { rowOf } from './table.mjs'

/** @import { Row } from './table.mjs' */

/** Milliseconds until an idle connection is parked. */
const IDLE = 500
/** Milliseconds until the keeper has all connections, and has released memory. */
const SETTLE = 3000
/** Interval (ms) at which the memory of the keeper is read during a takeover. */
const EVERY = 5

/**
 * @param {number} n connections
 * @param {number} rounds
 * @returns {Promise<Row[]>}
 */
export async function kept(n, rounds) {
  const server = await Supervised.start(true, IDLE)
  try {
    const crowd = await startCrowd()
    await crowd.ask('connect', server.port, n)
    /** @type {{ rest: number, served: number, peak: number }[]} */
    const results = []
    for (let round = 0; round < rounds; round++) {
      const { pid } = await server.until(({ stats }) => stats.parked === n)
      await wait(SETTLE)
      const rest = anonymous(server.keeper)
      const watch = watchMemory(server.keeper)
      process.kill(pid, 'SIGKILL')
      const served = await crowd.ask('askOne')
      // Every connection answers.
      await crowd.ask('askAll')
      results.push({ rest, served, peak: watch() })
    }
    const of = (/** @type {(result: typeof results[number]) => number} */ figure) => results.map(figure)
    return [
      rowOf(
        `kill -9 with ${n} idle connections: served again`,
        of(({ served }) => served),
        milliseconds,
        500,
        [`in ${rounds} kills, all ${n} connections went on`]
      ),
      rowOf(
        'memory of ebb run --keep, idle',
        of(({ rest }) => rest),
        megabytes,
        15e6
      ),
      rowOf(
        'memory of ebb run --keep, at most',
        of(({ peak }) => peak),
        megabytes,
        15e6
      )
    ]
  } finally {
    await server.end()
  }
}

/**
 * Reads the memory of a process again and again. Returns a function that ends this, and returns the highest figure.
 *
 * @param {number} pid
 */
function watchMemory(pid) {
  let most = 0
  const timer = setInterval(() => {
    most = Math.max(most, anonymous(pid))
  }, EVERY)
  return () => {
    clearInterval(timer)
    return most
  }
}

/**
 * Returns the anonymous memory of a process in bytes.
 *
 * @param {number} pid
 */
function anonymous(pid) {
  const [, kilobytes = '0'] = /^RssAnon:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}
