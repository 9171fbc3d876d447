/** Clients and servers for tests. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket, type SocketConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type Listener, type ListenOptions, listen } from '../../packages/ebb/src/listen/listen.js'
import type { Handlers } from '../../packages/ebb/src/listen/listener.js'
import type { AddressInfo } from '../../packages/ebb/src/sys/sockaddr.js'

/** Listens on a port of the kernel's choice, without give-backs, until the test is over. */
export function serve(handlers: Handlers = {}, options: ListenOptions = { port: 0 }): Listener {
  const listener = listen({ giveBack: false, ...options }, handlers)
  onTestFinished(async () => {
    const closed = listener.close()
    try {
      listener.closeConnections()
    } finally {
      await closed
    }
  })
  return listener
}

/** A port that nobody listens on; nor is it one that the kernel gives to a client, or to a listener of port 0, meanwhile. */
export async function freePort(): Promise<number> {
  const [first = 32_768] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t').map(Number)
  const lowest = 10_000
  for (;;) {
    const port = lowest + Math.floor(Math.random() * (first - lowest))
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}

/** How `node:net` says where a listener is. */
export function target(address: AddressInfo): SocketConnectOpts {
  return 'path' in address ? { path: address.path } : { host: address.address, port: address.port }
}

/** A connected client. Half-open: it ends when the test ends it. Errors are the test's to look for. */
export async function client(address: AddressInfo): Promise<Socket> {
  const socket = connect({ ...target(address), allowHalfOpen: true })
  onTestFinished(() => {
    socket.destroy()
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.removeAllListeners('error').on('error', () => {})
  return socket
}

export function clients(address: AddressInfo, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => client(address)))
}

/** All that comes until the server's FIN; rejects when the connection breaks first. */
export function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(chunks)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed without a FIN')))
  })
}

/** The next `length` bytes; what comes with them is left for the next call. */
export async function readExactly(socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let missing = length
  while (missing > 0) {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) {
      await readable(socket)
      continue
    }
    chunks.push(chunk.subarray(0, missing))
    if (chunk.length > missing) socket.unshift(chunk.subarray(missing))
    missing -= Math.min(missing, chunk.length)
  }
  return Buffer.concat(chunks)
}

/** Resolves when there is something to read; rejects when there will be nothing. */
function readable(socket: Socket): Promise<void> {
  if (socket.destroyed || socket.readableEnded) return Promise.reject(new Error('ended too early'))
  return new Promise((resolve, reject) => {
    const listeners = {
      readable: (): void => settle(),
      end: (): void => settle(new Error('ended too early')),
      close: (): void => settle(new Error('ended too early')),
      error: (error: Error): void => settle(error)
    }
    const settle = (error?: Error): void => {
      for (const [event, listener] of Object.entries(listeners)) socket.off(event, listener)
      if (error === undefined) resolve()
      else reject(error)
    }
    for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener)
  })
}

/** Resolves when the client's connection is gone, however. */
export function gone(socket: Socket): Promise<void> {
  return socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', () => resolve()))
}

/** Waits until `ready` holds. */
export async function until(ready: () => boolean): Promise<void> {
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 2))
}

/** Lets everything that is under way on loopback arrive: for what must not happen. */
export async function quiet(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Descriptors of this process. The one that reads the list is in it. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** What `during` throws at the process, in order. Vitest does not see it. */
export async function uncaught(during: () => Promise<void>): Promise<unknown[]> {
  const errors: unknown[] = []
  const others = process.listeners('uncaughtException')
  const collect = (error: unknown): void => {
    errors.push(error)
  }
  process.removeAllListeners('uncaughtException').on('uncaughtException', collect)
  try {
    await during()
  } finally {
    process.off('uncaughtException', collect)
    for (const other of others) process.on('uncaughtException', other)
  }
  return errors
}

/** A new directory, gone after the test. */
export function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'ebb-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}
