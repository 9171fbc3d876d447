/** The TCP server that is measured: an echo, with `createServer` of `ebb/net` or of `node:net`. */
import { given } from '../../harness/answer.mjs'
import { serve } from './serve.mjs'

const [mode, options] = given
const { createServer } = await import(mode === 'ebb' ? 'ebb/net' : 'node:net')

/** Those to write to, where the server itself does not know. */
const sockets = new Set()

const server = createServer(options, (socket) => {
  socket.on('data', (bytes) => socket.write(bytes))
  socket.on('error', () => {})
  if (mode === 'ebb') return
  sockets.add(socket)
  socket.on('close', () => sockets.delete(socket))
})

function broadcast(text) {
  if (mode === 'ebb') return server.broadcast(text)
  const bytes = Buffer.from(text)
  for (const socket of sockets) socket.write(bytes)
  return sockets.size
}

await serve(server, { broadcast })
