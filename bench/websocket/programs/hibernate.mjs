/** An echo server on `hibernate()` of ebb/websocket, with a port of its own or given an HTTP server. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { hibernate } from 'ebb/websocket'
import { given } from '../../harness/answer.mjs'
import { HOST, report } from '../../harness/serve.mjs'

const [engine] = /** @type {['own' | 'http']} */ (given)
const isOwn = engine === 'own'
const hub = hibernate(isOwn ? { port: 0, host: HOST } : createServer(), {
  message: (socket, data) => void socket.send(data)
})
const { server } = hub
if (!isOwn) {
  server.listen({ port: 0, host: HOST, backlog: 4096 })
  await once(server, 'listening')
}
const address = server.address()
if (address === null || typeof address === 'string') throw new Error('the server listens on no port')

report(address.port, {
  /** Returns how many connections are open, and how many of them are parked. */
  open: () => ({ open: hub.size, parked: hub.size }),
  /** @param {string} text */
  broadcast: (text) => void hub.broadcast(text)
})
