/**
 * The two servers of the experiment: parked connections, and plain `node:net`. Both accept, drop what they read, and
 * close.
 */
import { createServer, type ListenOptions } from 'node:net'
import { listen, type SystemError } from 'ebb/listen'
import { noPortError } from './address.js'

/** `park`: idle connections are bare descriptors in epoll. `net`: a plain `node:net` server. */
export type Mode = 'park' | 'net'

/** Options of {@link startServer}. */
export interface ServerOptions {
  mode: Mode
  /** IP address to listen on. */
  host: string
  /** TCP port to listen on; 0 picks a free port. */
  port: number
  /** Maximum number of connections that wait in the kernel to be accepted. */
  backlog: number
  /** Shares the port with other processes (`SO_REUSEPORT`); the kernel distributes connections among them. */
  reusePort: boolean
}

/** Callbacks of {@link startServer}. */
export interface ServerEvents {
  /** A client has connected. */
  joined(): void
  /** A client's connection is closed. */
  left(): void
  /** Memory was released. `before` and `after` are anonymous memory in bytes; times are milliseconds. */
  released(release: { before: number; after: number; ms: number; pauseMs: number }): void
  /** Accepting is paused, or has failed. */
  warned(error: SystemError): void
}

/** A listening server. */
export interface Server {
  /** IP address that the server listens on. */
  host: string
  /** TCP port that the server listens on. */
  port: number
  /** Stops accepting and closes every connection. */
  close(): Promise<void>
}

/**
 * Starts a server and resolves when it listens.
 *
 * @throws SystemError `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... if it cannot listen
 */
export function startServer(options: ServerOptions, events: ServerEvents): Promise<Server> {
  return options.mode === 'park' ? park(options, events) : net(options, events)
}

async function park({ host, port, backlog, reusePort }: ServerOptions, events: ServerEvents): Promise<Server> {
  const listener = listen(
    {
      host,
      port,
      backlog,
      reusePort,
      // The handlers only count.
      asyncContext: false,
      giveBack: {
        onRelease: ({ before, afterTrim, ms, pauseMs }) => events.released({ before, after: afterTrim, ms, pauseMs })
      }
    },
    {
      open: events.joined,
      close: events.left,
      error: events.warned
    }
  )
  const { address } = listener
  if ('path' in address) throw noPortError(host)
  return {
    host: address.address,
    port: address.port,
    close: () => {
      const closed = listener.close()
      listener.closeConnections()
      return closed
    }
  }
}

/** Follows the documentation of `node:net`, as a typical server does, so that the comparison is fair. */
async function net({ host, port, backlog, reusePort }: ServerOptions, events: ServerEvents): Promise<Server> {
  const server = createServer((socket) => {
    events.joined()
    socket.resume()
    // The peer has reset the connection; a `close` event follows.
    socket.on('error', () => {})
    socket.on('close', events.left)
  })
  // node:net has an option `reusePort` only since Node 22.12.
  const where: ListenOptions & { fd?: number } = reusePort
    ? { fd: (await import('./shared-port.js')).bindShared(host, port) }
    : { host, port }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...where, backlog }, resolve)
  })
  server.on('error', events.warned)
  const address = server.address()
  if (address === null || typeof address === 'string') throw noPortError(host)
  return {
    host: address.address,
    port: address.port,
    // A list of the sockets would be part of the measured memory, so the end of the process closes them.
    close: async () => {
      server.close()
    }
  }
}
