/** Servers and clients for tests of protocols. */
import { createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { Client } from '../client.js'
import { clientOptions, type PulseOptions } from '../pulse.js'
import { parseServer } from '../target.js'

/** Makes a client for a target. It is closed after the test. */
export function clientFor(url: string, options: PulseOptions = {}): Client {
  const target = parseServer(url)
  const client = new Client({
    address: target.address,
    sources: [],
    ...clientOptions(target, options),
    part: { index: 0, of: 1 }
  })
  onTestFinished(async () => {
    await client.close()
    client.dispose()
  })
  return client
}

/** Something that listens. */
interface Listening {
  listen(port: number, host: string, backlog: number, done: () => void): unknown
  once(event: 'error', listener: (error: Error) => void): unknown
  address(): unknown
  close(): unknown
}

/** Listens on a port that the kernel chooses, and returns it. The server is closed after the test. */
export async function portOf(server: Listening): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', 4096, resolve)
  })
  onTestFinished(() => void server.close())
  return (server.address() as { port: number }).port
}

/** Starts a server that handles bare sockets. They are destroyed after the test. */
export async function rawServer(onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)))
    onSocket(socket)
  })
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  return await portOf(server)
}

/** Starts a server that sends this text, in the given parts, as soon as it has received something. */
export function saying(parts: readonly string[], then: 'end' | 'hold' = 'hold'): Promise<number> {
  return rawServer((socket) => {
    socket.setNoDelay().once('data', () => {
      const next = (i: number): void => {
        const part = parts[i]
        if (part !== undefined) socket.write(part, 'latin1', () => setImmediate(next, i + 1))
        else if (then === 'end') socket.end()
      }
      next(0)
    })
  })
}
