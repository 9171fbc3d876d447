/** `node:net`. With `--import ebb/auto` in front it is the same server, governed. */
import { createServer } from 'node:net'

const server = createServer((socket) => {
  socket.on('error', () => {})
  socket.resume()
})
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
