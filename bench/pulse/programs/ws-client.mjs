/** `node ws-client.mjs URL N`: opens N WebSockets of the package `ws`, at most 512 at a time, and closes them. */
import { WebSocket } from 'ws'

const [url = '', n = ''] = process.argv.slice(2)
/** @type {WebSocket[]} */
const sockets = []
let opening = 0
let opened = 0
await new Promise((resolve) => {
  const more = () => {
    for (; opening - opened < 512 && opening < Number(n); opening++) {
      const socket = new WebSocket(url, { perMessageDeflate: false })
      sockets.push(socket)
      socket.once('open', () => {
        if (++opened === Number(n)) resolve(undefined)
        else more()
      })
    }
  }
  more()
})
for (const socket of sockets) socket.close()
