/** What a measured server does besides serving: it listens on a free port and reports its memory and CPU time. */
import { once } from 'node:events'
import { ownAnonymous, release } from 'ebb/memory'
import { answer } from './answer.mjs'

/** @import { Server } from 'node:net' */
/** @import { Orders } from './child.mjs' */

export const HOST = '127.0.0.1'

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
