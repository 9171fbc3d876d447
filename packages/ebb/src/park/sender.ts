/** Sending to connections, whether they are parked or awake. */
import type { Socket } from 'node:net'
import { shutdownWrite } from '../sys/socket.js'
import { sendAt, sendBytes } from '../sys/transfer.js'
import type { ConnectionHandle } from './connection.js'
import type { Connections } from './state/connections.js'
import { ENDED, TIMEOUT } from './state/table.js'

/** The server that a {@link Sender} sends for. */
export interface SenderHost {
  /** Wakes a parked connection without telling the application. @returns undefined if the connection broke */
  wake(row: number, announced: boolean): ConnectionHandle | undefined
  /** Gives the socket of a connection that {@link wake} woke to the application. */
  announce(row: number, socket: Socket, connection: ConnectionHandle): void
  /** Takes over the socket of a stream that is awake only because its reader is slow. */
  onSlowReader(row: number, socket: Socket): void
  /** Returns the protocol of an upgraded connection; undefined for other connections. */
  upgradedProtocol(row: number): UpgradedProtocol | undefined
  /** Whether somebody else has taken over the connection of an awake socket. */
  isTaken(socket: Socket): boolean
  /** Closes an awake connection whose peer reads too slowly. What waits for it is lost. */
  closeSlow(row: number): void
  /** Starts the timeout of a parked connection again, because bytes were sent to it. */
  restartTimeout(row: number): void
}

/** How much may wait for a peer that reads slowly. */
export interface QueueLimit {
  /** Maximum number of bytes that wait for one connection; undefined: the default. */
  maxQueued: number | undefined
  /** What happens to bytes that would exceed it: they are dropped, or the connection is closed. */
  overflow: 'close' | 'drop'
}

/** Default of `maxQueued` for streams, in bytes. Other connections have no limit by default. */
const STREAM_QUEUE = 16 * 1024 * 1024

/** How the protocol of upgraded connections sends to a parked connection. */
interface UpgradedProtocol {
  /** Sends bytes as they are. @returns false if the connection is broken */
  write(row: number, bytes: Uint8Array): boolean
  /** Sends a FIN after all that was sent. */
  end(row: number): void
}

/**
 * Sends bytes to one connection, by its row in the table.
 *
 * A parked connection is sent to directly. If the kernel does not take all bytes, the connection is woken, and its
 * socket sends the rest before anything else.
 */
export class Sender {
  readonly #connections: Connections
  readonly #host: SenderHost
  readonly #limit: QueueLimit

  constructor(connections: Connections, limit: QueueLimit, host: SenderHost) {
    this.#connections = connections
    this.#limit = limit
    this.#host = host
  }

  /** Sends bytes. @returns false if the connection is broken or cannot be written to any more */
  send(row: number, bytes: Uint8Array): boolean {
    const fd = this.#connections.table.fd(row)
    if (fd === -1) return this.#write(row, bytes)
    const upgraded = this.#host.upgradedProtocol(row)
    if (upgraded !== undefined) return upgraded.write(row, bytes)
    return bytes.length === 0 || this.#finish(row, bytes, sendBytes(fd, bytes))
  }

  /** Sends bytes whose address is known: cheaper for bytes that go to many connections. @returns as {@link send} */
  sendAt(row: number, bytes: Uint8Array, address: number): boolean {
    const fd = this.#connections.table.fd(row)
    return fd === -1 ? this.#write(row, bytes) : this.#finish(row, bytes, sendAt(fd, address, bytes.length))
  }

  /** Sends a FIN. */
  end(row: number): void {
    const { table } = this.#connections
    const fd = table.fd(row)
    if (fd === -1) {
      this.#connections.callBack(row, () => this.#connections.socket(row)?.end(), undefined)
      return
    }
    const upgraded = this.#host.upgradedProtocol(row)
    if (upgraded !== undefined) {
      upgraded.end(row)
      return
    }
    table.setFlags(row, ENDED)
    this.#connections.onChange?.(row)
    shutdownWrite(fd)
  }

  /** Returns how many bytes wait to be sent. */
  queued(row: number): number {
    return this.#connections.socket(row)?.writableLength ?? 0
  }

  #write(row: number, bytes: Uint8Array): boolean {
    const socket = this.#connections.socket(row)
    if (socket === undefined || !socket.writable || this.#host.isTaken(socket)) return false
    if (this.#overflows(row, socket, bytes.length)) {
      if (this.#limit.overflow === 'close') this.#host.closeSlow(row)
      return false
    }
    this.#connections.callBack(row, () => socket.write(bytes), undefined)
    return true
  }

  /** Whether more bytes than allowed would wait. Bytes that nothing waits before are always taken. */
  #overflows(row: number, { writableLength }: Socket, length: number): boolean {
    if (writableLength === 0 || this.#connections.isUpgraded(row)) return false
    const { maxQueued = this.#connections.isStream(row) ? STREAM_QUEUE : Number.POSITIVE_INFINITY } = this.#limit
    return writableLength + length > maxQueued
  }

  /** @param sent how many bytes the kernel took, or a negative errno */
  #finish(row: number, bytes: Uint8Array, sent: number): boolean {
    if (sent === bytes.length) {
      if ((this.#connections.table.flags(row) & TIMEOUT) !== 0) this.#host.restartTimeout(row)
      return true
    }
    // The connection is broken: epoll is about to report it, which closes it.
    if (sent < 0) return false
    // A copy: the caller may reuse its buffer.
    const rest = Buffer.from(bytes.subarray(sent))
    return this.#connections.callBack(row, this.#sendAwake, this, row, rest) === true
  }

  /** Wakes a parked connection, and sends bytes by its socket. @returns false if the connection broke */
  #sendAwake(row: number, bytes: Buffer): boolean {
    const isStream = this.#connections.isStream(row)
    const connection = this.#host.wake(row, false)
    const socket = connection?.socket
    if (connection === undefined || socket === undefined) return false
    socket.write(bytes)
    if (isStream) this.#host.onSlowReader(row, socket)
    else {
      process.nextTick(() => {
        // The caller may have closed the connection in the meantime. One that was parked again is announced all the
        // same, so that the application sees every wake.
        const isClosing = connection.socket === socket && socket.destroyed
        if (!connection.closed && !isClosing) this.#host.announce(row, socket, connection)
      })
    }
    return true
  }
}
