/** A program on `ws` that does not know of ebb. */
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'
import { tell } from '../tell.mjs'

const server = createServer()
const webSockets = new WebSocketServer({ server })
webSockets.on('connection', (webSocket) => {
  webSocket.on('message', (data, binary) => webSocket.send(data, { binary }))
})
server.listen(0, '127.0.0.1', () => tell(server))
