/**
 * A cluster worker with an echo server, for tests. Its arguments are the argument of `listen()`, and what makes the
 * server; the default is ebb/net.
 */
import http from 'node:http'
import net from 'node:net'
import { park } from 'ebb'
import { createServer } from 'ebb/net'

const [, , where, kind = 'ebb/net'] = process.argv
const echo = (socket) => {
  socket.on('error', () => {})
  socket.on('data', (bytes) => socket.write(bytes))
}
const server = {
  'ebb/net': () => createServer({ idle: 5 }, echo),
  'plain net': () => net.createServer(echo),
  'park(net)': () => park(net.createServer(echo)),
  'plain http': () => http.createServer(),
  'park(http)': () => park(http.createServer())
}[kind]()
server.on('error', ({ code, message }) => process.send({ port: `${code} ${message}` }))
server.listen(new Function(`return ${where}`)(), () => process.send({ port: server.address().port }))
process.on('message', (message) => {
  if (message === 'stats') process.send({ stats: server.stats() })
})
