/** The servers of the experiment: bare descriptors in epoll, and plain `node:net`. Both accept, read and drop, close. */
import { createServer, type ListenOptions } from 'node:net'
import { listen, type SystemError } from 'ebb/listen'

export type Mode = 'park' | 'net'

export interface ServerOptions {
  mode: Mode
  /** An IP address. */
  host: string
  /** 0: a free one. */
  port: number
  backlog: number
  /** Others listen on the port, too: the kernel shares out connections. */
  reusePort: boolean
}

/** What a server tells. */
export interface ServerEvents {
  joined(): void
  left(): void
  /** Memory was given back: anonymous memory before and after, bytes; ms. */
  released(release: { before: number; after: number; ms: number; pauseMs: number }): void
  /** Accepting pauses, or has failed. */
  warned(error: SystemError): void
}

/** A server that listens. */
export interface Server {
  host: string
  port: number
  /** Stops accepting and closes every connection. */
  close(): Promise<void>
}

/** @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, ... */
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
  if ('path' in address) throw new Error('a TCP listener has a port')
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

/** As the documentation of `node:net` has it, and no more: what a user's server would do. */
async function net({ host, port, backlog, reusePort }: ServerOptions, events: ServerEvents): Promise<Server> {
  const server = createServer((socket) => {
    events.joined()
    socket.resume()
    // A reset by the peer; `close` follows.
    socket.on('error', () => {})
    socket.on('close', events.left)
  })
  // Node has an option for it since 22.12.
  const where: ListenOptions & { fd?: number } = reusePort
    ? { fd: (await import('./shared-port.js')).bindShared(host, port) }
    : { host, port }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...where, backlog }, resolve)
  })
  server.on('error', events.warned)
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port')
  return {
    host: address.address,
    port: address.port,
    // No list of the sockets is kept, it would be a part of what is measured: the process's end closes them.
    close: async () => {
      server.close()
    }
  }
}
