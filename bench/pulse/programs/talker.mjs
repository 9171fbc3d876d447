/** The server that speaking clients are measured at: HTTP, and WebSockets that answer pings. */
import { createServer } from 'node:http'
import { hibernate } from 'ebb/websocket'
import { WebSocketServer } from 'ws'
import { answer, given } from '../../harness/answer.mjs'

const [port] = /** @type {[number]} */ (given)

if (port === 0) {
  const server = createServer((_, response) => response.end('hello'))
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  sockets.on('connection', (socket) => socket.on('error', () => {}))
  server.listen(0, '127.0.0.1', 8192, () => {
    const address = server.address()
    answer({}, address !== null && typeof address === 'object' ? address.port : 0)
  })
} else {
  // One of several processes that share a port.
  hibernate({ port, host: '127.0.0.1', backlog: 8192, reusePort: true }, {})
  answer({}, port)
}
