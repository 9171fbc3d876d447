/** `node talking-server.mjs SCHEME [PORT]`: an HTTP, WebSocket or MQTT server in a process. It prints its port. */
import { createServer as createHttp } from 'node:http'
import { createServer as createTcp } from 'node:net'
import { Aedes } from 'aedes'
import { WebSocketServer } from 'ws'

const [scheme = '', port = '0'] = process.argv.slice(2)
const server =
  scheme === 'mqtt'
    ? createTcp((await Aedes.createBroker()).handle)
    : createHttp((request, response) => void request.resume().on('end', () => response.end('hello')))
if (scheme === 'ws') {
  // @ts-expect-error: an HTTP server, as the scheme is not mqtt
  new WebSocketServer({ server }).on('connection', (socket) =>
    socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
  )
}
server.listen(Number(port), '127.0.0.1', 4096, () => {
  const address = server.address()
  console.log(typeof address === 'object' ? address?.port : address)
})
