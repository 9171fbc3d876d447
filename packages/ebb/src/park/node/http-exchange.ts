/** A request and a response that `http` makes, but that nobody has sent. */
import { hasSubscribers } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { outside } from '../../sys/node/callback-scope.js'

/** Channels on which Node tells of the requests and responses of all servers. */
const CHANNELS = ['http.server.request.start', 'http.server.response.created']

/**
 * Has `http` make a request and a response, as for a client: they have the hidden classes of those of any server.
 * No server and no application sees them, but a tool that replaces `emit()` of all requests or responses does, once for
 * each parked server. No connection and no descriptor is used, and the response is not finished.
 *
 * @returns an empty list if somebody listens to requests of all servers, and if Node does not work as expected
 */
export function makeExchange(): unknown[] {
  if (CHANNELS.some(hasSubscribers)) return []
  try {
    return outside(exchange)
  } catch {
    return []
  }
}

function exchange(): unknown[] {
  const { Server } = process.getBuiltinModule('node:http')
  const { Socket } = process.getBuiltinModule('node:net')
  const made: unknown[] = []
  const server = new Server()
  const socket = new Socket()
  // In place of the prototype's method, which tools replace that watch all requests.
  server.emit = (event: string, ...args: unknown[]) => {
    if (event !== 'request') return false
    const [request, response] = args as [IncomingMessage, ServerResponse]
    made.push(request, response)
    // As writeHead() does, in its order.
    response.statusMessage = 'OK'
    response.statusCode = 200
    response.detachSocket(socket)
    // As after a response: the rest of the request is dropped.
    request.on('end', () => {}).resume()
    return true
  }
  const [onConnection] = server.listeners('connection') as [(socket: Socket) => void]
  onConnection.call(server, socket)
  socket.emit('data', REQUEST)
  socket.destroy()
  return made
}

const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
