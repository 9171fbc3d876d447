/** Streams of server-sent events: parked by ebb where it can, else as plain responses of Node. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { park } from 'ebb'

/** A stream of events to one browser. */
export interface EventStream {
  /** Sends bytes. @returns false if the connection is gone */
  send(bytes: Buffer): boolean
  /** Bytes that wait for a browser that reads slowly. */
  readonly queued: number
  close(): void
}

/** An HTTP server whose responses can become streams. */
export interface StreamServer {
  server: Server
  /** Makes a response a stream. `onClose` is called when the connection is gone. */
  stream(response: ServerResponse, onClose: () => void): EventStream
}

/** Headers of every stream. */
const HEADERS = { 'content-type': 'text/event-stream; charset=utf-8', 'x-accel-buffering': 'no' }

/** Makes the server. Its streams are parked while nothing is sent, so a page that is open costs a descriptor. */
export function streamServer(onRequest: (request: IncomingMessage, response: ServerResponse) => void): StreamServer {
  const server = park(createServer(onRequest))
  if (!server.supported) return { server, stream: plainStream }
  const closers = new Map<number, () => void>()
  server.on('disconnect', ({ id }) => {
    closers.get(id)?.()
    closers.delete(id)
  })
  return {
    server,
    stream: (response, onClose) => {
      response.writeHead(200, HEADERS)
      const { id } = server.stream(response)
      closers.set(id, onClose)
      return {
        send: (bytes) => server.send(id, bytes),
        get queued() {
          return server.queued(id)
        },
        close: () => void server.closeConnection(id)
      }
    }
  }
}

function plainStream(response: ServerResponse, onClose: () => void): EventStream {
  response.writeHead(200, HEADERS)
  response.on('close', onClose)
  response.on('error', () => {})
  return {
    send: (bytes) => {
      response.write(bytes)
      return !response.destroyed
    },
    get queued() {
      return response.writableLength
    },
    close: () => void response.end()
  }
}
