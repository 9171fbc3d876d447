/** An echo server on `ws`, with ebb/ws or without it. It reports its memory and CPU time. */
import { createServer } from 'node:http'
import { isWebSocketParked, parkWebSockets } from 'ebb/ws'
import { WebSocketServer } from 'ws'
import { given } from '../../harness/answer.mjs'
import { serve } from '../../harness/serve.mjs'

const [engine, deflate, idle] = /** @type {['ws' | 'ebb', boolean, number]} */ (given)
const server = createServer()
const webSockets = new WebSocketServer({ server, perMessageDeflate: deflate && { threshold: 0 } })
if (engine === 'ebb') parkWebSockets(webSockets, { idle, deflate })
webSockets.on('connection', (webSocket) => {
  webSocket.on('message', (data, binary) => webSocket.send(data, { binary }))
})

await serve(server, {
  /** Returns how many connections are open, and how many of them are parked. */
  open: () => {
    const { clients } = webSockets
    return { open: clients.size, parked: [...clients].filter(isWebSocketParked).length }
  },
  /** @param {string} text */
  broadcast: (text) => {
    for (const client of webSockets.clients) client.send(text)
  }
})
