import { setTimeout as wait } from 'node:timers/promises'

/** @import { Child } from './child.mjs' */
/** @import { CommonOrders } from './serve.mjs' */

/**
 * A server, and the clients that connect to it.
 *
 * @typedef {object} IdleSide
 * @property {Pick<Child<CommonOrders>, 'ask'>} server
 * @property {(n: number) => Promise<void>} connect opens `n` connections, each of which exchanges one message
 * @property {(n: number) => Promise<void>} idle resolves when all `n` connections are idle
 * @property {() => Promise<unknown>} end ends the server and the clients
 */

/**
 * Measures what idle connections hold, and ends the side. Resolves with the bytes of anonymous memory above rest,
 * before (`left`) and after (`released`) a release.
 *
 * @param {IdleSide} side
 * @param {number} n connections
 * @param {number} quiet milliseconds between the last exchange and the first look at the memory
 */
export async function idleMemory(side, n, quiet) {
  try {
    await side.server.ask('release')
    const rest = await side.server.ask('anonymous')
    await side.connect(n)
    await side.idle(n)
    await wait(quiet)
    const left = await side.server.ask('anonymous')
    await side.server.ask('release')
    const released = await side.server.ask('anonymous')
    return { left: left - rest, released: released - rest }
  } finally {
    await side.end()
  }
}
