/**
 * Measures what one more copy of a server costs on a machine that already runs copies of it.
 *
 * Processes that run the same program share the pages of its files, so the second copy costs less than the first.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { ProcessView } from 'ebb/memory'
import { pulse, start } from 'ebb-lab'

/** @import { Running } from 'ebb-lab' */

const COPIES = 4
/** Milliseconds that the servers rest with their connections before they are measured. */
const SETTLE = 2000
/** Milliseconds that a pulse holds its connections: longer than any measurement, which ends the pulse by a signal. */
const HOLD = 600_000

/**
 * Starts four copies of a server, has each hold `connections`, and resolves with the mean of their proportional memory
 * (PSS) in bytes. A page that several processes map counts for each of them in parts.
 *
 * @param {readonly string[]} command
 * @param {number} connections
 * @param {AbortSignal} signal
 */
export async function box(command, connections, signal) {
  /** @type {Running[]} */
  const copies = []
  const over = new AbortController()
  try {
    for (let i = 0; i < COPIES; i++) copies.push(await start(command, { signal }))
    const pulses = copies.map((copy) => hold(copy, connections, AbortSignal.any([signal, over.signal])))
    await Promise.all(pulses.map(({ connected }) => connected))
    await wait(SETTLE, undefined, { signal })
    const shares = copies.map(({ pid }) => proportionalOf(pid))
    over.abort()
    await Promise.all(pulses.map(({ ended }) => ended))
    return shares.reduce((sum, share) => sum + share, 0) / COPIES
  } finally {
    over.abort()
    await Promise.all(copies.map(({ launched }) => launched?.stop()))
  }
}

/**
 * Opens connections and holds them until the signal. `connected` resolves when all are open and rejects if one is not;
 * `ended` resolves when all are closed.
 *
 * @param {Running} server
 * @param {number} connections
 * @param {AbortSignal} signal
 */
function hold({ host, port }, connections, signal) {
  /** @type {(reason?: unknown) => void} */
  let reject = () => {}
  /** @type {() => void} */
  let resolve = () => {}
  /** @type {Promise<void>} */
  const connected = new Promise((onConnected, onFailed) => {
    resolve = onConnected
    reject = onFailed
  })
  const ended = pulse(
    { host, port },
    { iterations: 0, small: connections, pulses: 1, linger: HOLD },
    {
      signal,
      onEvent: (event) => {
        if (event.event !== 'connected') return
        if (event.opened.connected === connections) resolve()
        else reject(new Error(`only ${event.opened.connected} of ${connections} connections to one of four copies`))
      }
    }
  )
  ended.catch(reject)
  return { connected, ended }
}

/** @param {number} pid */
function proportionalOf(pid) {
  const view = new ProcessView(pid)
  try {
    const shares = view.smaps()
    if (shares === null) throw new Error(`process ${pid}: smaps_rollup cannot be read`)
    return shares.proportional
  } finally {
    view.close()
  }
}
