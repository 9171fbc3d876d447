/** A chat: a message goes to all members of the sender's room, which is the path of its URL. */
import { WebSocketServer } from 'ws'
import { HOST, port } from './port.mjs'

/** @import { WebSocket } from 'ws' */

/** @type {Map<string, Set<WebSocket>>} */
const rooms = new Map()

const server = new WebSocketServer({ port, host: HOST, backlog: 4096 }, () => {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  console.log(`Listening on ${address.port}`)
})
server.on('connection', (socket, { url = '/' }) => {
  const room = rooms.get(url) ?? new Set()
  rooms.set(url, room.add(socket))
  socket.on('error', () => {})
  socket.on('message', (text) => {
    const message = JSON.stringify({ at: Date.now(), ...JSON.parse(String(text)) })
    for (const other of room) other.send(message)
  })
  socket.on('close', () => {
    room.delete(socket)
    if (room.size === 0) rooms.delete(url)
  })
})
