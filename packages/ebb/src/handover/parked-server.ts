/** How a parked server moves. */
import { once } from 'node:events'
import fs from 'node:fs'
import type { ListenOptions, Server } from 'node:net'
import { eachResponse } from '../park/node/http.js'
import { setPipeName } from '../park/node/server.js'
import type { Parked } from '../park/park.js'
import type { Parking } from '../park/parking.js'
import { isHttp, isHttp2 } from '../park/protocol/kind.js'
import { MOVABLE } from '../park/state/table.js'
import { upgradeOwnersOf } from '../park/upgrade-owners.js'
import type { ConnectionKeeper, Elsewhere, MovedConnection, Order } from '../socket/moved.js'
import { EbbError } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { bindSocket, closeDescriptor } from '../sys/socket.js'
import type { Movable, Side } from './movable.js'
import { Sides } from './passing.js'

/** Default backlog, as of `park()`. */
const BACKLOG = 4096

/** A server of `park()` or `ebb/net`. */
export class ParkedServer implements Movable {
  readonly name: string
  readonly kind: string
  readonly flags = MOVABLE
  /** What is written to a connection keeps it awake, so that it does not move before. */
  readonly lingers = false
  readonly upgrades: readonly string[]
  readonly #server: Server & Parked
  readonly #parking: Parking
  readonly #options: ListenOptions
  readonly #sides = new Sides()
  #listened: Promise<unknown> = Promise.resolve()

  constructor(name: string, server: Server & Parked, parking: Parking, options: ListenOptions) {
    this.name = name
    this.#server = server
    this.#parking = parking
    this.#options = options
    const owners = upgradeOwnersOf(server)
    for (const owner of owners) owner.prepare()
    this.upgrades = owners.map(({ name }) => name)
    parking.upgrades.mayMove = true
    this.kind = `${isHttp(server) ? 'http' : isHttp2(server) ? 'http2' : 'net'}${'setSecureContext' in server ? '+tls' : ''}`
  }

  get size(): number {
    return this.#parking.moving.size
  }

  get attachmentBytes(): number {
    return this.#parking.moving.attachmentBytes
  }

  get mostUses(): number {
    return this.#parking.moving.mostUses
  }

  listening(): { fd: number; path: string; backlog: number } | undefined {
    const fd = this.#parking.listeningDescriptor
    return fd === -1
      ? undefined
      : { fd, path: this.#parking.socketPath ?? '', backlog: this.#options.backlog ?? BACKLOG }
  }

  parkResting(part: number): void {
    this.#parking.moving.parkResting(part)
  }

  onRest(then: () => void): () => void {
    return isHttp(this.#server) ? eachResponse(this.#server, (response) => response.once('finish', then)) : () => {}
  }

  rows(upgrades: ReadonlySet<string> | undefined, most: number): readonly number[] {
    return this.#parking.moving.rows(upgrades, most)
  }

  canKeep(row: number): boolean {
    return this.#parking.moving.canKeep(row)
  }

  setKeeper(keeper: ConnectionKeeper | undefined): void {
    this.#parking.keeper = keeper
  }

  idOf(row: number): number {
    return this.#parking.moving.idOf(row)
  }

  describe(row: number): MovedConnection {
    return this.#parking.moving.describe(row)
  }

  stayingIds(broadcasts: boolean, leaving: readonly number[]): Iterable<number> {
    return this.#parking.moving.stayingIds(broadcasts, leaving)
  }

  surrender(row: number): void {
    this.#parking.moving.surrender(row)
  }

  surrenderListening(): void {
    this.#parking.surrenderListening()
  }

  end(all: boolean): void {
    if (this.#server.listening) {
      this.#parking.keepsIdle = !all
      this.#server.close()
      this.#parking.keepsIdle = false
    }
    if (all) {
      this.#server.closeAllConnections()
      this.#parking.endUpgraded()
    }
  }

  shutDown(grace: number): void {
    void this.#server.shutdown({ grace })
  }

  emit(event: 'handedOver' | 'handoverFailed', argument: unknown): void {
    outside(() => setImmediate(() => this.#server.emit(event, argument)))
  }

  onClose(then: () => void): void {
    this.#server.once('close', then)
  }

  async listen(): Promise<void> {
    const { path, backlog, readableAll, writableAll } = this.#options
    if (path === undefined) {
      const listening = once(this.#server, 'listening')
      this.#server.listen(this.#options)
      await listening
      return
    }
    // Not by libuv, which removes the file when a process closes its handle, although another process listens there.
    const fd = bindSocket({ path })
    try {
      if (readableAll || writableAll) {
        fs.chmodSync(path, fs.statSync(path).mode | (readableAll ? 0o444 : 0) | (writableAll ? 0o222 : 0))
      }
    } catch (error) {
      closeDescriptor(fd)
      throw error
    }
    this.listenOn(fd, path, backlog ?? BACKLOG)
    await this.listened()
  }

  listenOn(fd: number, path: string, backlog: number): void {
    this.#parking.socketPath = path === '' ? undefined : path
    const listening = once(this.#server, 'listening')
    // Whoever waits for it gets the error.
    listening.catch(() => {})
    this.#listened = listening
    this.#server.listen({ fd, backlog })
    if (!this.#server.listening) {
      throw new EbbError(
        'ERR_EBB_HANDOVER',
        `server ${JSON.stringify(this.name)} cannot listen on a socket that it got`
      )
    }
    if (path !== '') setPipeName(this.#server, path)
  }

  async listened(): Promise<void> {
    await this.#listened
  }

  unlisten(): void {
    this.#parking.surrenderListening()
    this.end(true)
  }

  reserve(ids: readonly number[], leastUses: number): boolean {
    return this.#parking.moving.reserve(ids, leastUses)
  }

  isReserved(id: number): boolean {
    return this.#parking.moving.isReserved(id)
  }

  release(id: number): void {
    this.#parking.moving.release(id)
  }

  expect(fd: number): void {
    this.#parking.moving.expect(fd)
  }

  check(flags: number, state: string | undefined): void {
    this.#parking.moving.check(flags, state)
  }

  adopt(moved: readonly MovedConnection[]): void {
    this.#parking.moving.adopt(moved)
  }

  unadopt(ids: readonly number[]): void {
    const { moving } = this.#parking
    for (const id of ids) {
      const row = moving.rowOf(id)
      // One that nobody here could go on with is closed already.
      if (row !== -1) moving.surrender(row)
    }
  }

  /** The program is told of upgraded connections. Of the others, it is told when they wake. */
  onTaken(ids: readonly number[]): void {
    this.#parking.moving.onTaken(ids)
  }

  setElsewhere(side: Side, elsewhere: Elsewhere | undefined): void {
    this.#parking.moving.elsewhere = this.#sides.set(side, elsewhere)
  }

  arrivingIds(broadcasts: boolean): Iterable<number> {
    return this.#sides.before?.ids(broadcasts) ?? []
  }

  carryOut(id: number, order: Order, bytes: Buffer, from: Side): void {
    if (id === 0) (from === 'before' ? this.#sides.after : this.#sides.before)?.passToAll(bytes)
    this.#parking.moving.carryOut(id, order, bytes)
  }
}
