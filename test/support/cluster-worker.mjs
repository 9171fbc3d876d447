/** A cluster worker with a parked echo server, for tests. Its argument is the argument of `listen()`. */
import { createServer } from 'ebb/net'

const server = createServer({ idle: 5 }, (socket) => {
  socket.on('error', () => {})
  socket.on('data', (bytes) => socket.write(bytes))
})
server.listen(new Function(`return ${process.argv[2]}`)(), () => process.send({ port: server.address().port }))
process.on('message', (message) => {
  if (message === 'stats') process.send({ stats: server.stats() })
})
