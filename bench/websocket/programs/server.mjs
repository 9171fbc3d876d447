/** An echo server on `ws`, with ebb/ws or without it. It reports its memory and CPU time. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { ownAnonymous, release } from 'ebb/memory'
import { isWebSocketParked, parkWebSockets } from 'ebb/ws'
import { WebSocketServer } from 'ws'
import { answer, given } from '../../harness/answer.mjs'

/** @import { Name } from '../sides.mjs' */

const [name, deflate, idle] = /** @type {[Name, boolean, number]} */ (given)
const server = createServer()
const webSockets = new WebSocketServer({ server, perMessageDeflate: deflate && { threshold: 0 } })
if (name === 'ebb') parkWebSockets(webSockets, { idle, deflate })
webSockets.on('connection', (webSocket) => {
  webSocket.on('message', (data, binary) => webSocket.send(data, { binary }))
})

/** @typedef {typeof orders} ServerOrders */

const orders = {
  /** Returns the anonymous memory in bytes. */
  anonymous: () => ownAnonymous(),
  release: async () => {
    await release()
  },
  /** Returns the user and system time since the start in ms. */
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
  /** Returns how many connections are open, and how many of them are parked. */
  open: () => {
    const { clients } = webSockets
    return { open: clients.size, parked: [...clients].filter(isWebSocketParked).length }
  },
  /** @param {string} text */
  broadcast: (text) => {
    for (const client of webSockets.clients) client.send(text)
  }
}

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
await once(server, 'listening')
const address = server.address()
if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
answer(orders, address.port)
