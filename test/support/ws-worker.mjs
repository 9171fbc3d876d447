/** A WebSocket echo server on `ws`, for tests: as a worker of a cluster, or as a worker thread. */
import http from 'node:http'
import { parentPort } from 'node:worker_threads'
import { isWebSocketParked, parkWebSockets } from 'ebb/ws'
import { WebSocketServer } from 'ws'

const tell = (message) => (parentPort === null ? process.send(message) : parentPort.postMessage(message))

const server = http.createServer()
const webSockets = parkWebSockets(new WebSocketServer({ server }), { idle: 1 })
webSockets.on('connection', (webSocket) => {
  webSocket.on('message', (data) => webSocket.send(`${data} ${isWebSocketParked(webSocket)}`))
  const wait = () => (isWebSocketParked(webSocket) ? webSocket.send('parked') : setImmediate(wait))
  wait()
})
server.listen(0, '127.0.0.1', () => tell({ port: server.address().port }))
const end = () => {
  webSockets.close()
  for (const client of webSockets.clients) client.close(1001)
  server.close(() => (parentPort === null ? process.disconnect() : parentPort.close()))
}
if (parentPort === null) process.on('message', end)
else parentPort.once('message', end)
