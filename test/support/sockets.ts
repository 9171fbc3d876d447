/** Clients for tests, and small helpers. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket, type SocketConnectOpts } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { AddressInfo } from 'ebb'
import { onTestFinished } from 'vitest'

/** Vitest runs files at the same time in processes with these numbers. Each takes its ports from a part of its own. */
const PARTS = 8
let lastPort: number | undefined

/**
 * Returns a free port, another one at each call. It is outside the range from which the kernel chooses ports, so that
 * no other socket gets it.
 */
export async function freePort(): Promise<number> {
  const [first = 32_768] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t').map(Number)
  const lowest = 10_000
  const size = Math.floor((first - lowest) / PARTS)
  const part = lowest + size * (Number(process.env.VITEST_POOL_ID ?? 0) % PARTS)
  for (;;) {
    const port = part + (lastPort === undefined ? Math.floor(Math.random() * size) : (lastPort - part + 1) % size)
    lastPort = port
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}

/** Returns the options of `net.connect` for the address of a listener. */
export function target(address: AddressInfo): SocketConnectOpts {
  return 'path' in address ? { path: address.path } : { host: address.address, port: address.port }
}

/** Connects a client. It is half-open, so the test ends it. Errors are ignored unless the test listens for them. */
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

/** Connects `count` clients. */
export function clients(address: AddressInfo, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => client(address)))
}

/** Reads until the server's FIN. Rejects if the connection breaks before. */
export function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(chunks)))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed without a FIN')))
  })
}

/** Reads the next `length` bytes. Further bytes are left for the next call. */
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

/** Reads the first line of a stream of text, however many pieces it comes in, without its end. Reads on after it. */
export async function lineOf(stream: Readable): Promise<string> {
  let text = ''
  return await new Promise((resolve, reject) => {
    stream.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
      const end = text.indexOf('\n')
      if (end !== -1) resolve(text.slice(0, end))
    })
    stream.once('end', () => reject(new Error(`ended without a line: ${JSON.stringify(text)}`)))
  })
}

/** Resolves when there is something to read. Rejects if the socket has ended. */
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

/** Resolves when the client's socket is closed, for whatever reason. */
export function gone(socket: Socket): Promise<void> {
  return socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', () => resolve()))
}

/** Waits until `ready()` returns true. */
export async function until(ready: () => boolean): Promise<void> {
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 2))
}

/** Waits until everything in flight on loopback has arrived, before a test checks that something did not happen. */
export async function quiet(): Promise<void> {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Returns the number of open descriptors, including the one that reads the list. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** Returns the uncaught exceptions that occur during `during`, in order. Vitest does not see them. */
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

/** Creates a directory that is removed after the test. */
export function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'ebb-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}
