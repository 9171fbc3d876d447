/** What the application does with connections, through `Parked` and `Connection`: with one by its id, or with all. */
import type { Socket } from 'node:net'
import { restored } from '../socket/attachments.js'
import type { Elsewhere, Order } from '../socket/moved.js'
import { toBytes } from '../sys/arguments.js'
import { EbbError } from '../sys/errors.js'
import { resetOnClose, silentFor } from '../sys/socket.js'
import { peek } from '../sys/transfer.js'
import { type ConnectionHandle, type ConnectionHost, connectionOf } from './connection.js'
import type { Protocol } from './protocol/protocol.js'
import type { Sender } from './sender.js'
import type { Settings } from './settings.js'
import type { Connections } from './state/connections.js'
import { FRESH, STREAM, UPGRADED } from './state/table.js'
import type { Cause } from './stats.js'

/** The server whose connections are accessed. */
export interface AccessHost {
  /** Parks an awake connection. @returns whether it is parked */
  park(row: number, connection: ConnectionHandle): boolean
  /** Tells the peer of a connection that speaks another protocol that the server ends. */
  sayGoodbye(row: number): void
  /** Closes a parked connection. */
  close(row: number, cause: Cause): void
  /** Called when the socket of an awake connection has closed. */
  socketClosed(row: number, connection: ConnectionHandle): void
  /** Wakes a parked connection. @returns undefined if the connection is broken */
  wake(row: number, announced: boolean): ConnectionHandle | undefined
}

/** The implementation of {@link ConnectionHost}: finds the row of an id, and works on the row. */
export class ConnectionAccess implements ConnectionHost {
  /** Set during a handover. */
  elsewhere: Elsewhere | undefined
  readonly #connections: Connections
  readonly #protocol: Protocol
  readonly #sender: Sender
  readonly #settings: Settings
  readonly #host: AccessHost

  constructor(connections: Connections, protocol: Protocol, sender: Sender, settings: Settings, host: AccessHost) {
    this.#connections = connections
    this.#protocol = protocol
    this.#sender = sender
    this.#settings = settings
    this.#host = host
  }

  /** Returns the connection behind a socket; undefined for a socket of another server. */
  connection(socket: Socket): ConnectionHandle | undefined {
    const connection = connectionOf(socket)
    return connection?.belongsTo(this) ? connection : undefined
  }

  has(id: number): boolean {
    return this.#connections.table.find(id) !== -1 || this.elsewhere?.has(id) === true
  }

  isParked(id: number): boolean {
    const { table } = this.#connections
    const row = table.find(id)
    return row !== -1 && table.fd(row) !== -1
  }

  parkNow({ id }: ConnectionHandle): boolean {
    const row = this.#connections.table.find(id)
    if (row === -1) return false
    const awake = this.#connections.awake.get(row)
    if (awake === undefined) return true
    const parked = this.#host.park(row, awake)
    this.#protocol.endBatch()
    return parked
  }

  /** @param reset whether a parked connection gets a RST in place of a FIN */
  closeConnection(id: number, reset = false): boolean {
    const { table } = this.#connections
    const row = table.find(id)
    if (row === -1) return this.#pass(id, 'close')
    const fd = table.fd(row)
    if (fd === -1) {
      this.#connections.callBack(row, () => this.#connections.socket(row)?.destroy(), undefined)
      return true
    }
    if (reset) resetOnClose(fd)
    this.#host.close(row, 'server')
    return true
  }

  attachment({ id, lastAttachment }: ConnectionHandle): unknown {
    const row = this.#connections.table.find(id)
    return restored(row === -1 ? lastAttachment : this.#connections.attachments.get(row))
  }

  attach({ id }: ConnectionHandle, value: unknown): void {
    const row = this.#connections.table.find(id)
    if (row === -1) {
      throw new EbbError('ERR_EBB_CONNECTION_CLOSED', 'the connection is closed: nothing can be attached to it')
    }
    this.#connections.attachments.set(row, value)
    this.#connections.onChange?.(row)
  }

  send(id: number, data: string | Uint8Array): boolean {
    const bytes = toBytes(data)
    const row = this.#connections.table.find(id)
    if (!this.#protocol.isPlain) return false
    return row === -1 ? this.#pass(id, 'send', bytes) : this.#sender.send(row, bytes)
  }

  /** Passes on what is meant for a connection that another process has. @returns false if there is none */
  #pass(id: number, order: Order, bytes?: Uint8Array): boolean {
    return this.elsewhere?.has(id) === true && this.elsewhere.pass(id, order, bytes)
  }

  queued(id: number): number {
    const row = this.#connections.table.find(id)
    return row === -1 ? 0 : this.#sender.queued(row)
  }

  end(id: number): void {
    const row = this.#connections.table.find(id)
    if (row !== -1) this.#sender.end(row)
    else this.#pass(id, 'end')
  }

  socketClosed(connection: ConnectionHandle): void {
    const row = this.#connections.table.find(connection.id)
    if (row !== -1 && this.#connections.awake.get(row) === connection) this.#host.socketClosed(row, connection)
  }

  presentSocket(id: number): Socket | undefined {
    const row = this.#connections.table.find(id)
    if (row === -1) return undefined
    return this.#connections.socket(row) ?? this.#host.wake(row, false)?.socket
  }

  setReference(id: number, on: boolean): void {
    this.#set(
      id,
      (socket) => (on ? socket.ref() : socket.unref()),
      (row) => this.#settings.setReference(row, on)
    )
  }

  setNoDelay(id: number, on: boolean): void {
    this.#set(
      id,
      (socket) => socket.setNoDelay(on),
      (row) => this.#settings.setNoDelay(row, on)
    )
  }

  setKeepAlive(id: number, on: boolean, delay: number): void {
    const seconds = Math.floor(delay / 1000)
    this.#set(
      id,
      (socket) => socket.setKeepAlive(on, delay),
      (row) => this.#settings.setKeepAlive(row, on, seconds)
    )
  }

  setTimeout(id: number, socket: Socket, ms: number): void {
    const emit = ms === 0 ? undefined : () => socket.emit('timeout')
    this.#set(
      id,
      (present) => present.setTimeout(ms, emit),
      (row) => this.#settings.setTimeout(row, socket, ms)
    )
  }

  /** Sets something on the socket of an awake connection, or on the row of a parked one. */
  #set(id: number, onSocket: (socket: Socket) => void, onRow: (row: number) => void): void {
    const row = this.#connections.table.find(id)
    if (row === -1) return
    const socket = this.#connections.socket(row)
    if (socket !== undefined) onSocket(socket)
    else if (this.#connections.isParked(row)) onRow(row)
  }

  /** Destroys the sockets of all awake connections. */
  closeAwake(): void {
    for (const [row, { socket }] of this.#connections.awake) {
      this.#connections.callBack(row, () => socket?.destroy(), undefined)
    }
  }

  /** Closes all parked connections. As in `http`, those after an upgrade are left out. */
  closeParked(): void {
    const { table } = this.#connections
    for (const row of this.#parked()) if ((table.flags(row) & UPGRADED) === 0) this.#host.close(row, 'server')
  }

  /**
   * Closes the parked connections that have sent a request. A connection whose next request has arrived is not idle.
   */
  closeIdle(): void {
    const { table } = this.#connections
    for (const row of this.#parked()) {
      if ((table.flags(row) & (UPGRADED | STREAM | FRESH)) !== 0) continue
      if (peek(table.fd(row), 1) <= 0) this.#host.close(row, 'server')
    }
  }

  /**
   * Closes the parked connections that have not sent a byte.
   *
   * @param youngest age (ms) from which a connection is closed: the first byte of a younger one may be under way
   * @param ids the connections that may be closed; default: all
   * @returns the ids of the younger connections, which are left
   */
  closeSilent(youngest: number, ids: Iterable<number> = this.#connections.table.ids()): number[] {
    const { table } = this.#connections
    const left: number[] = []
    for (const id of ids) {
      const row = table.find(id)
      const fd = row === -1 ? -1 : table.fd(row)
      if (fd === -1 || (table.flags(row) & FRESH) === 0 || peek(fd, 1) > 0) continue
      if (youngest > 0 && (silentFor(fd) ?? 0) < youngest) left.push(id)
      else this.#host.close(row, 'server')
    }
    return left
  }

  /** Closes all connections. @param idle how many awake ones are idle @returns how many were idle, and how many not */
  closeAll(idle: number): { idle: number; cut: number } {
    const { table, awake } = this.#connections
    let [parked, streams] = [0, 0]
    for (const row of awake.keys()) this.#host.sayGoodbye(row)
    for (const row of this.#parked()) {
      if ((table.flags(row) & (UPGRADED | STREAM)) !== 0) streams++
      else parked++
      this.#host.sayGoodbye(row)
      this.#host.close(row, 'server')
    }
    const cut = awake.size - idle
    this.closeAwake()
    return { idle: parked + idle, cut: streams + cut }
  }

  /** Returns the rows of all parked connections. The caller may close each. */
  *#parked(): Generator<number> {
    const { table } = this.#connections
    for (let row = 0; row < table.end; row++) {
      if (table.id(row) !== 0 && table.fd(row) !== -1) yield row
    }
  }
}
