/**
 * The two sides of a comparison, ebb and plain Node: each is a server and a crowd of clients in processes of their
 * own.
 */
import { Child } from './child.mjs'
import { execArgv, withBoth } from './sides.mjs'

/** @import { ParkStats } from 'ebb' */
/** @import { CommonOrders } from './serve.mjs' */
/** @import { CrowdOrders, Protocol } from './programs/crowd.mjs' */

/**
 * How a server is run: `ebb`, or `plain` Node.
 *
 * @typedef {'ebb' | 'plain'} Mode
 */

/**
 * What a server is started with.
 *
 * @typedef {object} Options
 * @property {number} [idle] milliseconds after which an idle connection is parked
 */

/**
 * The orders of the servers. Plain Node has no `stats`; HTTP servers have no `broadcast`.
 *
 * @typedef {CommonOrders & { stats(): ParkStats, broadcast(text: string): number }} ServerOrders
 */

/**
 * @typedef {object} Side
 * @property {Mode} name
 * @property {Child<ServerOrders>} server
 * @property {Child<CrowdOrders>} crowd
 * @property {(n: number) => Promise<void>} connect opens `n` connections, each of which exchanges one message
 * @property {(n: number) => Promise<void>} idle resolves when all `n` connections are idle; ebb has parked them then
 * @property {() => Promise<unknown>} end ends both processes
 */

/** @type {readonly Mode[]} */
export const MODES = ['ebb', 'plain']

/**
 * Starts a module of `programs/` as a server. `EBB_BENCH_EXEC_ARGV` gives it flags for Node, for instance `--cpu-prof`.
 *
 * @param {'http-server' | 'net-server' | 'listen-server'} name
 * @param {readonly unknown[]} args
 * @returns {Promise<Child<ServerOrders>>}
 */
export function startServer(name, ...args) {
  return Child.start(new URL(`programs/${name}.mjs`, import.meta.url), { args, execArgv })
}

/**
 * Starts a crowd of clients.
 *
 * @param {Protocol} protocol
 * @returns {Promise<Child<CrowdOrders>>}
 */
export function startCrowd(protocol) {
  return Child.start(new URL('programs/crowd.mjs', import.meta.url), { args: [protocol] })
}

/**
 * Starts one side.
 *
 * @param {Mode} name
 * @param {Protocol} protocol
 * @param {Options} options for ebb; plain Node ignores them
 * @returns {Promise<Side>}
 */
export async function startSide(name, protocol, options) {
  const server = await startServer(protocol === 'http' ? 'http-server' : 'net-server', name, options)
  const crowd = await startCrowd(protocol)
  return {
    name,
    server,
    crowd,
    connect: (n) => crowd.ask('connect', server.port, n),
    idle: async (n) => {
      if (name === 'ebb') await server.until('stats', ({ parked }) => parked === n)
    },
    end: () => Promise.all([server.end(), crowd.end()])
  }
}

/**
 * Starts both sides, calls `work`, and ends them.
 *
 * @template R
 * @param {Protocol} protocol
 * @param {Options} options
 * @param {(ebb: Side, plain: Side) => Promise<R>} work
 * @returns {Promise<R>}
 */
export function withSides(protocol, options, work) {
  return withBoth(
    () => startSide('ebb', protocol, options),
    () => startSide('plain', protocol, options),
    work
  )
}
