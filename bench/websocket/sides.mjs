/** The two sides of a comparison, ebb/ws and ws alone: each is a server and a crowd of clients in own processes. */
import { Child } from '../harness/child.mjs'
import { execArgv, withBoth } from '../harness/sides.mjs'

/** @import { CrowdOrders } from './programs/crowd.mjs' */
/** @import { ServerOrders } from './programs/server.mjs' */

/** @typedef {'ebb' | 'ws'} Name */

/**
 * @typedef {object} Side
 * @property {Name} name
 * @property {Child<ServerOrders>} server
 * @property {Child<CrowdOrders>} crowd
 * @property {(n: number) => Promise<void>} connect opens `n` connections, each of which exchanges one message
 * @property {(n: number) => Promise<void>} idle resolves when all `n` connections are idle; ebb has parked them then
 * @property {() => Promise<unknown>} end ends both processes
 */

/** Milliseconds until ebb parks an idle connection. */
const IDLE = 500

/**
 * Starts one side.
 *
 * @param {Name} name
 * @param {boolean} deflate whether messages are compressed
 * @returns {Promise<Side>}
 */
export async function startSide(name, deflate) {
  const args = [name, deflate, IDLE]
  /** @type {Child<ServerOrders>} */
  const server = await Child.start(new URL('programs/server.mjs', import.meta.url), { args, execArgv })
  /** @type {Child<CrowdOrders>} */
  const crowd = await Child.start(new URL('programs/crowd.mjs', import.meta.url), { args: [deflate] })
  return {
    name,
    server,
    crowd,
    connect: async (n) => void (await crowd.ask('connect', server.port, n)),
    idle: (n) => server.until('open', ({ open, parked }) => (name === 'ebb' ? parked : open) === n),
    end: () => Promise.all([server.end(), crowd.end()])
  }
}

/**
 * Starts both sides, calls `work`, and ends them.
 *
 * @template R
 * @param {(ebb: Side, ws: Side) => Promise<R>} work
 * @returns {Promise<R>}
 */
export function withSides(work) {
  return withBoth(
    () => startSide('ebb', false),
    () => startSide('ws', false),
    work
  )
}
