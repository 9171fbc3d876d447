/** Accepts connections and does nothing with them. */
import { createServer } from 'node:net'

const server = createServer((socket) => socket.on('error', () => {}).resume())
server.listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`Listening on ${server.address().port}`)
})
