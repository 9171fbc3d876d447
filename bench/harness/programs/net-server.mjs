/** The TCP server that is measured: an echo, with `createServer()` of `ebb/net` or of `node:net`. */
import { given } from '../answer.mjs'
import { serve } from '../serve.mjs'

/** @import { Socket } from 'node:net' */
/** @import { Mode, Options } from '../plain-sides.mjs' */

const [mode, options] = /** @type {[Mode, Options]} */ (given)
// Plain Node does not load the library.
await (mode === 'ebb' ? serveEbb() : servePlain())

async function serveEbb() {
  const { createServer } = await import('ebb/net')
  const server = createServer(options, echo)
  await serve(server, {
    stats: () => server.stats(),
    broadcast: (/** @type {string} */ text) => server.broadcast(text)
  })
}

async function servePlain() {
  const { createServer } = await import('node:net')
  /**
   * The sockets to write a broadcast to: `node:net` does not list them.
   *
   * @type {Set<Socket>}
   */
  const sockets = new Set()
  const server = createServer((socket) => {
    echo(socket)
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await serve(server, {
    broadcast: (/** @type {string} */ text) => {
      const bytes = Buffer.from(text)
      for (const socket of sockets) socket.write(bytes)
      return sockets.size
    }
  })
}

/** @param {Socket} socket */
function echo(socket) {
  socket.on('data', (bytes) => socket.write(bytes))
  socket.on('error', () => {})
}
