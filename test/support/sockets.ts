/** Clients and servers for tests. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, type Socket, type SocketConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type Handlers, type Listener, type ListenOptions, listen } from '../../packages/ebb/src/server/listener.js'
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

/** The next `length` bytes. */
export async function readExactly(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = length === 0 ? Buffer.alloc(0) : (socket.read(length) as Buffer | null)
    if (bytes !== null && bytes.length === length) return bytes
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error): void => {
        socket.off('readable', done).off('end', ended).off('error', done)
        if (error === undefined) resolve()
        else reject(error)
      }
      const ended = (): void => done(new Error('ended too early'))
      socket.on('readable', done).on('end', ended).on('error', done)
    })
  }
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
