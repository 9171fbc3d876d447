/** The connections of one `hibernate()`: they stay parked, and have no object. */

import type { Cause } from '../../park/stats.js'
import { restored } from '../../socket/attachments.js'
import { lengthened, shortened } from '../../sys/arrays.js'
import { EbbError } from '../../sys/errors.js'
import type { AddressInfo } from '../../sys/sockaddr.js'
import { ABNORMAL, BINARY, CLOSE, type Fault, type FrameRules, NO_CODE, PING, TEXT } from '../frames.js'
import type { MovingHandlers, WebSocketHandlers } from '../handlers.js'
import type { WebSocketOrder } from '../orders.js'
import { prepareFrame } from '../sending.js'
import type { WebSockets } from '../web-sockets.js'
import { ConnectionHandle, type ConnectionHost, type Last } from './connection.js'
import type { Acceptance } from './handshake.js'
import { decodeMember, encodeMember, type MovedMember } from './hub-moving.js'
import type { HibernateHandlers, Settings, WebSocketError } from './options.js'
import { checkTags, TagIndex } from './tags.js'

/** Milliseconds until a connection that could not be parked for want of a descriptor is tried again. */
const IDLE = 200
const NO_TAGS: readonly string[] = Object.freeze([])
/** Opcodes of messages and pings of another process. */
const OPCODES = { text: TEXT, binary: BINARY, ping: PING, close: CLOSE } as const

/** Calls the handlers of a program, and carries out what the program does with connections. */
export class Hub<A> implements WebSocketHandlers, ConnectionHost {
  readonly rules: FrameRules
  readonly anyText = false
  readonly answersPings = true
  readonly closeTimeout: number
  readonly idle = IDLE
  readonly wakes = false

  readonly #handlers: HibernateHandlers<A>
  readonly #settings: Settings
  #core: WebSockets | undefined
  #owner = -1
  /** Called when the last connection is closed. */
  #onEmpty: (() => void) | undefined

  readonly #tags = new TagIndex()
  /** By row: the subprotocol of connections that have one. */
  readonly #protocols = new Map<number, string>()
  /** By row: 1 if nothing has come since the last ping. Empty without `liveness`. */
  #awaiting = new Uint8Array(0)
  /** Rows of connections for which an automatic response waits. */
  readonly #answering = new Set<number>()

  readonly moving: MovingHandlers

  constructor(handlers: HibernateHandlers<A>, settings: Settings) {
    this.#handlers = handlers
    this.#settings = settings
    this.rules = { masked: true, allowRsv1: false, maxPayload: settings.maxPayload }
    this.closeTimeout = settings.closeTimeout
    this.moving = {
      name: `hibernate ${settings.path ?? ''}`,
      canKeep: true,
      describe: (row) => this.#describe(row),
      check: decodeMember,
      restore: (row, own) => this.#restore(row, decodeMember(own)),
      onTaken: (row) => this.#handlers.moved?.(this.#handle(row)),
      onMoved: (row) => this.#forget(row),
      carryOut: (row, order) => this.#carryOut(row, order)
    }
  }

  /** Number of open connections. */
  get size(): number {
    return this.#core?.count(this.#owner) ?? 0
  }

  // Opening.

  /**
   * Makes this hub an owner of connections of a server. `park()` changes the core of a server; then the hub follows as
   * soon as it has no connections.
   *
   * @returns its owner number; -1 if it has connections of another core
   */
  join(core: WebSockets): number {
    if (core === this.#core) return this.#owner
    if (this.size > 0) return -1
    this.#core?.unregister(this.#owner)
    this.#core = core
    this.#owner = core.register(this)
    return this.#owner
  }

  /** Sets up a connection that was adopted, and calls the `open` handler. */
  onOpen(row: number, { protocol, tags }: Acceptance, attachment: string | undefined): void {
    const core = this.#core as WebSockets
    if (attachment !== undefined) core.attachments.keep(row, attachment)
    if (tags.length > 0) this.#tags.set(row, tags)
    if (protocol !== undefined) this.#protocols.set(row, protocol)
    this.#startLiveness(row)
    if (this.#handlers.open !== undefined) this.#handlers.open(this.#handle(row))
  }

  #handle(row: number): ConnectionHandle<A> {
    return new ConnectionHandle(this, (this.#core as WebSockets).id(row))
  }

  // Events of connections.

  onMessage(row: number, bytes: Buffer, start: number, end: number, binary: boolean): void {
    this.#onTraffic(row)
    if (!binary && this.#answer(row, bytes, start, end)) return
    if (this.#handlers.message === undefined) return
    const data = binary ? Buffer.from(bytes.subarray(start, end)) : bytes.toString('utf8', start, end)
    this.#handlers.message(this.#handle(row), data, binary)
  }

  /** Sends the automatic response to a message. @returns whether there is one */
  #answer(row: number, bytes: Buffer, start: number, end: number): boolean {
    const responses = this.#settings.autoResponses
    const response = responses?.responseTo(bytes, start, end)
    if (response === undefined) return false
    const core = this.#core as WebSockets
    if (!core.isOpen(row)) return true
    // A peer that reads nothing cannot make the queue grow: at most one response waits.
    if (core.queued(row) > 0) {
      if (this.#answering.has(row)) return true
      this.#answering.add(row)
    }
    core.send(row, TEXT, response)
    responses?.note(row)
    return true
  }

  onPing(row: number): void {
    this.#onTraffic(row)
  }

  onPong(row: number): void {
    this.#onTraffic(row)
  }

  onDrain(row: number): void {
    this.#answering.delete(row)
    this.#onTraffic(row)
    this.#handlers.drain?.(this.#handle(row))
  }

  onProgress(row: number): void {
    this.#onTraffic(row)
  }

  onClosing(): void {}

  onFault(row: number, { closeCode, reason }: Fault): void {
    if (this.#handlers.error === undefined) return
    const error = new EbbError('ERR_EBB_WEBSOCKET', `the peer broke the protocol: ${reason}`)
    this.#handlers.error(this.#handle(row), Object.assign(error, { closeCode }) as WebSocketError)
  }

  onClosed(row: number, code: number, reason: Buffer, _cause: Cause): void {
    const core = this.#core as WebSockets
    if (this.#handlers.close !== undefined) {
      const last = { attachment: core.attachments.get(row), tags: this.#tags.get(row), protocol: this.#protocolOf(row) }
      const handle = new ConnectionHandle<A>(this, core.id(row), last)
      core.callBackLater(row, this.#tellClosed, handle, { code, reason })
    }
    this.#forget(row)
    if (this.#onEmpty !== undefined && this.size === 0) process.nextTick(this.#onEmpty)
  }

  #forget(row: number): void {
    this.#tags.delete(row)
    this.#settings.autoResponses?.delete(row)
    this.#protocols.delete(row)
    this.#answering.delete(row)
    if (row < this.#awaiting.length) this.#awaiting[row] = 0
  }

  readonly #tellClosed = (handle: ConnectionHandle<A>, { code, reason }: { code: number; reason: Buffer }): void => {
    this.#handlers.close?.(handle, code, reason.toString(), code !== ABNORMAL)
  }

  onWake(): void {}

  mayPark(): boolean {
    return true
  }

  onParked(row: number): void {
    this.#startLiveness(row)
  }

  trim(end: number): void {
    this.#tags.trim(end)
    this.#settings.autoResponses?.trim(end)
    this.#awaiting = shortened(this.#awaiting, end)
  }

  // Liveness.

  #startLiveness(row: number): void {
    const { liveness } = this.#settings
    if (liveness === 0) return
    if (row >= this.#awaiting.length) this.#awaiting = lengthened(this.#awaiting, row)
    this.#awaiting[row] = 0
    this.#core?.setTimer(row, liveness)
  }

  /** Notes that something has come from the peer. */
  #onTraffic(row: number): void {
    if (row < this.#awaiting.length) this.#awaiting[row] = 0
  }

  onTimer(row: number): void {
    const core = this.#core as WebSockets
    if (this.#awaiting[row] === 1) {
      core.terminate(row, 'timeout')
      return
    }
    this.#awaiting[row] = 1
    core.send(row, PING, '')
    core.setTimer(row, this.#settings.liveness)
  }

  // Connections that move to another process, and come from one.

  #describe(row: number): string {
    return encodeMember({
      protocol: this.#protocolOf(row),
      tags: this.#tags.get(row),
      awaiting: this.#awaiting[row] === 1,
      answering: this.#answering.has(row),
      answered: this.#settings.autoResponses?.timestamp(row)?.getTime() ?? 0
    })
  }

  #restore(row: number, { protocol, tags, awaiting, answering, answered }: MovedMember): void {
    if (protocol !== '') this.#protocols.set(row, protocol)
    if (tags.length > 0) this.#tags.set(row, tags)
    if (answering) this.#answering.add(row)
    if (answered > 0) this.#settings.autoResponses?.note(row, answered)
    this.#continueLiveness(row, awaiting)
  }

  /** The timer goes on as in the other process, unless this hub has another interval. */
  #continueLiveness(row: number, awaiting: boolean): void {
    const core = this.#core as WebSockets
    const { liveness } = this.#settings
    if (!core.isOpen(row)) return
    const left = core.timeLeft(row)
    this.#startLiveness(row)
    if (awaiting && liveness > 0) this.#awaiting[row] = 1
    if (liveness === 0) core.setTimer(row, 0)
    else if (left > 0 && left < liveness) core.setTimer(row, left)
  }

  #carryOut(row: number, order: WebSocketOrder): void {
    const { tag } = order
    if (row === -1) this.#broadcastOrder(order)
    else if (tag === undefined || this.#tags.get(row).includes(tag)) this.#carryOutFor(row, order)
  }

  /** Carries out a broadcast of another process, for the connections that are here now. */
  #broadcastOrder(order: WebSocketOrder): void {
    const core = this.#core as WebSockets
    const { kind, data, tag } = order
    const frame = prepareFrame(OPCODES[kind], data)
    const { length } = frame.bytes
    const ids = Float64Array.from(this.#ids(tag))
    void core.broadcast(frame, this.#owner, ids, (row) => this.#hasRoom(row, length), order)
  }

  #carryOutFor(row: number, { kind, data, code }: WebSocketOrder): void {
    const core = this.#core as WebSockets
    if (kind === 'close') core.close(row, code, data)
    else if (core.isOpen(row) && this.#hasRoom(row, data.length)) core.send(row, OPCODES[kind], data)
  }

  // For the program.

  #find(id: number): number {
    return this.#core?.find(id, this.#owner) ?? -1
  }

  has(id: number): boolean {
    return this.#find(id) !== -1 || this.#core?.isElsewhere(id) === true
  }

  /** Passes an order on to the process that has a connection. @returns false if there is none */
  #pass(id: number, kind: WebSocketOrder['kind'], data: string | Uint8Array, code?: number): boolean {
    const core = this.#core
    if (core?.isElsewhere(id) !== true) return false
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    return core.pass(id, { kind, owner: this.moving.name, data: bytes, ...(code !== undefined && { code }) })
  }

  get(id: number): ConnectionHandle<A> | undefined {
    return this.has(id) ? new ConnectionHandle(this, id) : undefined
  }

  *sockets(tag?: string): IterableIterator<ConnectionHandle<A>> {
    for (const id of this.#ids(tag)) {
      // It may have closed since the walk began, or lost the tag.
      const row = this.#find(id)
      if (row !== -1) yield new ConnectionHandle<A>(this, id)
    }
  }

  /** Ids of the connections that have a tag when the first is asked for. */
  *#ids(tag: string | undefined): Iterable<number> {
    const core = this.#core
    if (core === undefined) return
    if (tag === undefined) yield* core.ids(this.#owner)
    else yield* Float64Array.from(this.#tags.rows(tag), (row) => core.id(row))
  }

  /** Number of connections that have a tag. */
  count(tag: string): number {
    return this.#tags.size(tag)
  }

  async broadcast(data: string | Uint8Array, tag?: string): Promise<number> {
    const core = this.#core
    if (core === undefined || (this.size === 0 && !core.mayMove)) return 0
    const kind = typeof data === 'string' ? 'text' : 'binary'
    const frame = prepareFrame(OPCODES[kind], data)
    const { bytes } = frame
    // A part of the frame, which does not change any more.
    const payload = bytes.subarray(bytes.length - Buffer.byteLength(data))
    const order: WebSocketOrder | undefined = core.mayMove
      ? { kind, owner: this.moving.name, tag, data: payload }
      : undefined
    const maySend = (row: number): boolean => this.#hasRoom(row, bytes.length)
    return await core.broadcast(frame, this.#owner, this.#targets(tag, order), maySend, order)
  }

  /** As {@link #ids}. Other processes get the order when the first id is asked for. */
  *#targets(tag: string | undefined, order: WebSocketOrder | undefined): Iterable<number> {
    if (order === undefined) {
      yield* this.#ids(tag)
      return
    }
    const ids = Float64Array.from(this.#ids(tag))
    this.#core?.passToAll(order)
    yield* ids
  }

  autoResponseTimestamp(id: number): Date | undefined {
    const row = this.#find(id)
    return row === -1 ? undefined : this.#settings.autoResponses?.timestamp(row)
  }

  queued(id: number): number {
    const row = this.#find(id)
    return row === -1 ? 0 : (this.#core as WebSockets).queued(row)
  }

  protocol(id: number, last: Last | undefined): string {
    const row = this.#find(id)
    return row === -1 ? (last?.protocol ?? '') : this.#protocolOf(row)
  }

  #protocolOf(row: number): string {
    return this.#protocols.get(row) ?? ''
  }

  remoteAddress(id: number): AddressInfo | undefined {
    const row = this.#find(id)
    return row === -1 ? undefined : this.#core?.remoteAddress(row)
  }

  tags(id: number, last: Last | undefined): readonly string[] {
    const row = this.#find(id)
    return row === -1 ? (last?.tags ?? NO_TAGS) : this.#tags.get(row)
  }

  setTags(id: number, tags: readonly string[]): void {
    const different = checkTags(tags)
    const row = this.#open(id, 'it has no tags')
    this.#tags.set(row, different)
    this.#core?.onChange(row)
  }

  attachment(id: number, last: Last | undefined): unknown {
    const row = this.#find(id)
    return restored(row === -1 ? last?.attachment : this.#core?.attachments.get(row))
  }

  attach(id: number, value: unknown): void {
    const row = this.#open(id, 'nothing can be attached to it')
    this.#core?.attachments.set(row, value)
    this.#core?.onChange(row)
  }

  #open(id: number, consequence: string): number {
    const row = this.#find(id)
    if (row !== -1) return row
    throw new EbbError('ERR_EBB_CONNECTION_CLOSED', `the connection is closed: ${consequence}`)
  }

  send(id: number, data: string | Uint8Array): boolean {
    const core = this.#core as WebSockets
    const row = this.#find(id)
    if (row === -1) return this.#pass(id, typeof data === 'string' ? 'text' : 'binary', data)
    if (!core.isOpen(row) || !this.#hasRoom(row, data)) return false
    core.send(row, typeof data === 'string' ? TEXT : BINARY, data)
    return core.isOpen(row)
  }

  /** Whether a message may be sent to a connection. If not, the connection may be closed. */
  #hasRoom(row: number, data: string | Uint8Array | number): boolean {
    const core = this.#core as WebSockets
    const queued = core.queued(row)
    if (queued === 0) return true
    const length = typeof data === 'number' ? data : Buffer.byteLength(data)
    if (queued + length <= this.#settings.maxQueued) return true
    if (this.#settings.overflow === 'close') core.terminate(row, 'slow')
    return false
  }

  ping(id: number, data: string | Uint8Array): void {
    const row = this.#find(id)
    if (row === -1) this.#pass(id, 'ping', data)
    else if (this.#hasRoom(row, data)) this.#core?.send(row, PING, data)
  }

  close(id: number, code: number, reason: Uint8Array): void {
    const row = this.#find(id)
    if (row === -1) this.#pass(id, 'close', reason, code)
    else this.#core?.close(row, code, reason)
  }

  terminate(id: number): void {
    const row = this.#find(id)
    if (row === -1) this.#core?.terminateElsewhere(id)
    else this.#core?.terminate(row)
  }

  /** Begins the closing handshake of all connections. @returns a promise that resolves when all are closed */
  async closeAll(code = NO_CODE, reason?: Uint8Array): Promise<void> {
    const core = this.#core
    if (core === undefined) return
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve
    })
    for (const id of core.ids(this.#owner)) this.close(id, code, reason ?? EMPTY)
    if (this.size > 0) await empty
    core.unregister(this.#owner)
    this.#core = undefined
  }
}

const EMPTY = Buffer.alloc(0)
