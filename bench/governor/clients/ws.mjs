/** Clients of a chat over WebSocket. */
import { once } from 'node:events'
import WebSocket from 'ws'
import { talk } from './talk.mjs'

talk(async (port, room, onMessage) => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${room}`)
  await once(socket, 'open')
  socket.on('message', onMessage)
  return {
    say: (text) => socket.send(JSON.stringify({ text })),
    leave: async () => {
      socket.close()
      await once(socket, 'close')
    }
  }
})
