/** What every measured server does besides serving: it listens on a free port and reports its memory and CPU time. */
import { once } from 'node:events'
import { ownAnonymous, release } from 'ebb/memory'
import { answer } from '../../harness/answer.mjs'

/** @import { Server } from 'node:net' */
/** @import { Orders } from '../../harness/child.mjs' */

export const HOST = '127.0.0.1'

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

/** @typedef {typeof ORDERS} CommonOrders */

const ORDERS = {
  /** Returns the anonymous memory in bytes. */
  anonymous: () => ownAnonymous(),
  release: async () => {
    await release()
  },
  /** Returns the user and system time since the start in ms. */
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  }
}

/**
 * Listens on a free port and then answers orders.
 *
 * @param {Server} server
 * @param {Orders} orders those that only this server knows
 */
export async function serve(server, orders) {
  server.listen({ port: 0, host: HOST, backlog: 4096 })
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  report(address.port, orders)
}

/**
 * Answers orders for a server that listens already.
 *
 * @param {number} port
 * @param {Orders} [orders]
 */
export function report(port, orders = {}) {
  answer({ ...ORDERS, ...orders }, port)
}
