/** A chat: what comes from one goes to all of its room, which is in the path. */
import { WebSocketServer } from 'ws'

const rooms = new Map()

const server = new WebSocketServer({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`Listening on ${server.address().port}`)
})
server.on('connection', (socket, { url }) => {
  if (!rooms.has(url)) rooms.set(url, new Set())
  const room = rooms.get(url).add(socket)
  socket.on('error', () => {})
  socket.on('message', (text) => {
    const message = JSON.stringify({ at: Date.now(), ...JSON.parse(text) })
    for (const other of room) other.send(message)
  })
  socket.on('close', () => {
    room.delete(socket)
    if (room.size === 0) rooms.delete(url)
  })
})
