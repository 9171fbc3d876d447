/** How a listener of `createListener()` moves. */
import { startListening } from '../listen/listen.js'
import type { EpollListener } from '../listen/listener.js'
import { MOVABLE } from '../listen/moving.js'
import { describeSocket, type SocketOptions } from '../socket/listening-socket.js'
import type { ConnectionKeeper, Elsewhere, MovedConnection, Order } from '../socket/moved.js'
import { reportLater } from '../sys/node/callback-scope.js'
import { closeDescriptor } from '../sys/socket.js'
import type { Movable } from './movable.js'
import { Sides } from './passing.js'
import { refused, SERIAL_KIND } from './protocol.js'

/** A listener of `createListener()`. Its rows are descriptors. */
export class ListenerServer implements Movable {
  readonly name: string
  readonly kind = SERIAL_KIND
  readonly flags = MOVABLE
  readonly lingers = true
  readonly upgrades: readonly string[] = []
  readonly #listener: EpollListener
  readonly #options: SocketOptions
  readonly #sides = new Sides()

  constructor(name: string, listener: EpollListener, options: SocketOptions) {
    this.name = name
    this.#listener = listener
    this.#options = options
  }

  get size(): number {
    return this.#listener.clients
  }

  get attachmentBytes(): number {
    return this.#listener.attachments.bytes
  }

  get mostUses(): number {
    return this.#listener.reactor.lastSerial
  }

  listening(): { fd: number; path: string; backlog: number } | undefined {
    const { socket } = this.#listener
    return socket && { fd: socket.fd, path: socket.path ?? '', backlog: socket.backlog }
  }

  parkResting(part: number): void {
    this.#listener.moving.setPatience(part)
  }

  onRest(): () => void {
    return () => {}
  }

  rows(): readonly number[] {
    return this.#listener.moving.rows()
  }

  canKeep(row: number): boolean {
    return this.#listener.moving.canKeep(row)
  }

  setKeeper(keeper: ConnectionKeeper | undefined): void {
    this.#listener.keeper = keeper
  }

  idOf(row: number): number {
    return this.#listener.moving.idOf(row)
  }

  describe(row: number): MovedConnection {
    return this.#listener.moving.describe(row)
  }

  stayingIds(broadcasts: boolean, leaving: readonly number[]): Iterable<number> {
    return this.#listener.moving.stayingIds(broadcasts, leaving)
  }

  surrender(row: number): void {
    this.#listener.moving.surrender(row)
  }

  surrenderListening(): void {
    this.#listener.surrenderListening()
  }

  end(all: boolean): void {
    void this.#listener.close()
    if (!all) return
    try {
      this.#listener.closeConnections()
    } catch (error) {
      // Of a `close` handler. The handover goes on.
      reportLater(error)
    }
  }

  shutDown(grace: number): void {
    void this.#listener.shutdown({ grace })
  }

  emit(event: 'handedOver' | 'handoverFailed', argument: unknown): void {
    this.#listener.emit(event, argument)
  }

  onClose(then: () => void): void {
    this.#listener.onClosed = then
  }

  async listen(): Promise<void> {
    startListening(this.#listener, this.#options)
  }

  listenOn(fd: number, path: string, backlog: number): void {
    try {
      this.#listener.start({ fd, ...describeSocket(fd, backlog), path: path === '' ? undefined : path })
    } catch (error) {
      closeDescriptor(fd)
      throw error
    }
  }

  async listened(): Promise<void> {}

  unlisten(): void {
    this.#listener.surrenderListening()
    this.end(true)
  }

  reserve(ids: readonly number[], leastUses: number): boolean {
    return this.#listener.moving.reserve(ids, leastUses)
  }

  isReserved(id: number): boolean {
    return this.#listener.moving.isReserved(id)
  }

  release(id: number): void {
    this.#listener.moving.release(id)
  }

  check(_flags: number, state: string | undefined): void {
    if (state !== undefined) throw refused('a connection of another kind')
  }

  adopt(moved: readonly MovedConnection[]): void {
    this.#listener.moving.adopt(moved)
  }

  unadopt(ids: readonly number[]): void {
    this.#listener.moving.unadopt(ids)
  }

  onTaken(ids: readonly number[]): void {
    this.#listener.moving.onTaken(ids)
  }

  setElsewhere(side: 'before' | 'after', elsewhere: Elsewhere | undefined): void {
    this.#listener.moving.elsewhere = this.#sides.set(side, elsewhere)
  }

  arrivingIds(broadcasts: boolean): Iterable<number> {
    return this.#sides.before?.ids(broadcasts) ?? []
  }

  carryOut(id: number, order: Order, bytes: Uint8Array): void {
    this.#listener.moving.carryOut(id, order, bytes)
  }
}
