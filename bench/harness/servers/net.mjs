/** A plain `node:net` server that reads and drops. With `--import ebb/auto`, the governor watches the same server. */
import { createServer } from 'node:net'

const server = createServer((socket) => {
  socket.on('error', () => {})
  socket.resume()
})
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
