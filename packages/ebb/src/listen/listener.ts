/**
 * The connections of `listen()`: bare descriptors in epoll, with handlers that all of them share.
 *
 * An open connection has no object, only its entry in the reactor's arrays. A {@link ConnectionHandle} is made for each
 * call of a handler, and is garbage afterwards unless the handler keeps it. Only a connection whose peer reads too
 * slowly has an object here: the bytes that wait to be sent.
 */
import type { Governor } from '../govern/connection-governor.js'
import { type Retained, retain } from '../memory/hidden-classes.js'
import { type AcceptHost, Acceptor } from '../socket/acceptor.js'
import { Attachments, restored } from '../socket/attachments.js'
import { BroadcastQueue } from '../socket/broadcast-queue.js'
import type { ListeningSocket } from '../socket/listening-socket.js'
import type { ConnectionKeeper, Order } from '../socket/moved.js'
import { ProxiedAddresses } from '../socket/proxied.js'
import {
  type ProxyFailure,
  type ProxyProtocol,
  type ProxyProtocolOptions,
  proxyProtocolOf
} from '../socket/proxy-protocol.js'
import { type ShutdownHost, type ShutdownOptions, type ShutdownReport, shutDown } from '../socket/shutdown.js'
import { Wheel } from '../socket/timer-wheel.js'
import { checkFunction, checkId, toBytes } from '../sys/arguments.js'
import { type Audited, announceCreated, targetOf } from '../sys/audit.js'
import { E, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../sys/constants.js'
import { EbbError, type SystemError, systemError } from '../sys/errors.js'
import { batchSoon, CallbackScopes, runWithoutContext } from '../sys/node/callback-scope.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'
import { ReceiveSlab } from '../sys/receive-slab.js'
import { joinServed, leaveServed, type Served, type ServerReport } from '../sys/served.js'
import { type AddressInfo, formatAddress } from '../sys/sockaddr.js'
import { closeDescriptor, peerAddress, shutdownBoth, shutdownWrite, takeError } from '../sys/socket.js'
import { peek, receiveAndDrop, sendAt, sendBytes } from '../sys/transfer.js'
import { type Connection, ConnectionHandle, type ConnectionHost } from './connection.js'
import { type Handlers, ignoresArguments } from './handlers.js'
import { ConnectionIds } from './ids.js'
import { ListenerMoving, type MovingHost } from './moving.js'
import {
  BLOCKED,
  ENDED,
  ENDING,
  eventsOf,
  FAILED,
  HALF_CLOSED,
  HEADER,
  HUNG_UP,
  NOT_READING,
  NOT_WRITABLE,
  PAUSED,
  type SendQueue
} from './states.js'

/** What a listener is made of, beside its socket. */
export interface ListenerParts {
  handlers: Handlers
  governor: Governor | undefined
  /** Milliseconds after which a connection that has not sent a byte is closed; 0: never. */
  firstByteTimeout: number
  /** Whether handlers run in a context of their connection. */
  asyncContext: boolean
  proxyProtocol: boolean | ProxyProtocolOptions | undefined
  /** Maximum size of a serialised attachment, in bytes. */
  attachmentLimit: number
}

/** The implementation of `Listener`. */
export class EpollListener implements Audited, Served, Watcher, AcceptHost, ConnectionHost, ShutdownHost, MovingHost {
  readonly reactor: Reactor
  readonly attachments: Attachments
  /** By descriptor. */
  readonly queues = new Map<number, SendQueue>()
  /** Deadlines of the connections that have not sent a byte, by descriptor. */
  readonly silent: Wheel | undefined
  readonly proxy: ProxyProtocol | undefined
  /** By descriptor: addresses that a balancer has told. */
  readonly proxied = new ProxiedAddresses()
  /** By descriptor: in which scope the handlers are called. */
  readonly scopes = new CallbackScopes()
  readonly moving: ListenerMoving
  /** Called when the listener and all its connections are closed. */
  onClosed: (() => void) | undefined

  readonly #handlers: Handlers
  /** The handlers `open` and `close` if they ignore what they are called with, see {@link #argumentOf}. */
  readonly #bareOpen: Handlers['open']
  readonly #bareClose: Handlers['close']
  /** An unused handle, which keeps the hidden class of handles alive while there are no connections. */
  readonly retained: Retained
  #owner = -1
  #socket: ListeningSocket | undefined
  /** Undefined until the listener listens. */
  #acceptor: Acceptor | undefined
  readonly #governor: Governor | undefined
  /** Errors of failed writes, by descriptor. */
  readonly #failures = new Map<number, SystemError>()
  readonly #firstByteTimeout: number
  readonly #asyncContext: boolean
  #clients = 0
  #accepted = 0
  #referenced = true
  /** The promise of {@link close}, and the function that resolves it. */
  #closing: Promise<void> | undefined
  #resolveClosing: (() => void) | undefined
  #shutdown: Promise<ShutdownReport> | undefined

  readonly #slab = new ReceiveSlab()
  #keeper: ConnectionKeeper | undefined
  readonly #ids = new ConnectionIds(this)
  readonly #broadcasts = new BroadcastQueue()

  /** @throws {TypeError} `ERR_INVALID_ARG_VALUE` for a `proxyProtocol` that is not valid */
  constructor(parts: ListenerParts) {
    this.proxy = proxyProtocolOf(parts.proxyProtocol, (fd, error) => this.#onProxyFailure(fd, error))
    this.reactor = reactor()
    this.#handlers = parts.handlers
    const { open, close } = parts.handlers
    if (ignoresArguments(open)) this.#bareOpen = open
    if (ignoresArguments(close)) this.#bareClose = close
    this.#governor = parts.governor
    this.#firstByteTimeout = parts.firstByteTimeout
    this.#asyncContext = parts.asyncContext
    this.attachments = new Attachments(parts.attachmentLimit)
    this.moving = new ListenerMoving(this)
    if (parts.firstByteTimeout > 0) this.silent = new Wheel((fd) => this.#onSilence(fd))
    this.retained = retain(new ConnectionHandle(this, -1, -1))
    announceCreated(this)
  }

  /**
   * Starts to accept from `socket`. The listener owns `socket` from then on.
   *
   * @throws {SystemError} of `epoll_ctl`; the caller still owns the socket
   */
  start(socket: ListeningSocket): void {
    this.#acceptor = new Acceptor(this.reactor, socket, this)
    this.#socket = socket
    this.scopes.onListening()
    this.#owner = this.reactor.register(this)
    joinServed(this)
    if (this.#referenced) this.reactor.ref()
  }

  audit(): string[] {
    const wrong: string[] = []
    let open = 0
    let timers = 0
    const { reactor } = this
    const isRegistered = this.#owner !== -1
    for (let fd = !isRegistered ? -1 : reactor.next(this.#owner, -1); fd !== -1; fd = reactor.next(this.#owner, fd)) {
      open++
      if (this.silent?.has(fd)) timers++
      if (!targetOf(fd)?.startsWith('socket:')) wrong.push(`descriptor ${fd} is ${targetOf(fd)}`)
      const blocked = ((reactor.state[fd] as number) & BLOCKED) !== 0
      if (this.queues.has(fd) !== blocked) wrong.push(`descriptor ${fd} is ${blocked ? '' : 'not '}blocked`)
    }
    if (open !== this.#clients) wrong.push(`clients: ${this.#clients}, expected ${open}`)
    if (timers !== (this.silent?.size ?? 0)) wrong.push(`timers: ${this.silent?.size}, expected ${timers}`)
    for (const fd of this.queues.keys()) if (reactor.ownerOf(fd) !== this.#owner) wrong.push(`a queue of ${fd} is left`)
    if (open === 0 && this.attachments.bytes > 0) wrong.push('attachments are left')
    return [...wrong, ...this.#ids.audit()]
  }

  /** @throws {EbbError} `ERR_SERVER_NOT_RUNNING` before the listener listens */
  get address(): AddressInfo {
    if (this.#socket !== undefined) return this.#socket.address
    throw new EbbError('ERR_SERVER_NOT_RUNNING', 'the listener does not listen: pass it to handover() first')
  }

  report(): ServerReport {
    return {
      address: this.#socket && formatAddress(this.#socket.address),
      protocol: 'tcp',
      parked: this.#clients,
      awake: 0,
      connections: this.#clients,
      webSockets: 0
    }
  }

  get owner(): number {
    return this.#owner
  }

  /** Whether {@link start} was called, or {@link close}. */
  get isUsed(): boolean {
    return this.#socket !== undefined || this.#closing !== undefined
  }

  get clients(): number {
    return this.#clients
  }

  get accepted(): number {
    return this.#accepted
  }

  get accepting(): boolean {
    return this.#acceptor?.accepting === true
  }

  unref(): this {
    if (this.#referenced && this.#owner !== -1) this.reactor.unref()
    this.#referenced = false
    return this
  }

  ref(): this {
    if (!this.#referenced && this.#closing === undefined) {
      if (this.#owner !== -1) this.reactor.ref()
      this.#referenced = true
    }
    return this
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#resolveClosing = resolve
      if (this.#acceptor?.sharesPort) this.#acceptor.drain()
      this.#keeper?.stopped()
      this.#acceptor?.close()
      this.#finishIfEmpty()
    })
    return this.#closing
  }

  shutdown(options?: ShutdownOptions): Promise<ShutdownReport> {
    this.#shutdown ??= shutDown(this, options)
    return this.#shutdown
  }

  // Called by the shutdown.

  stop(): number {
    const drained = this.#acceptor?.drain() ?? 0
    void this.close()
    return drained
  }

  closed(): Promise<void> {
    return this.close()
  }

  closeAll(): { idle: number; cut: number } {
    const cut = this.#clients
    this.closeConnections()
    return { idle: 0, cut }
  }

  closeConnections(): void {
    const errors: unknown[] = []
    const { reactor } = this
    // A closed and empty listener is unregistered, and its owner number may belong to another watcher.
    if (this.#clients === 0) return
    for (let fd = reactor.next(this.#owner, -1); fd !== -1; fd = reactor.next(this.#owner, fd)) {
      try {
        this.destroy(fd)
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }

  // Called by the acceptor.

  onAccept(fd: number): number {
    const errno = this.reactor.add(fd, EPOLLIN | EPOLLRDHUP, this.#owner)
    if (errno !== 0) {
      this.reactor.discard(fd)
      return errno
    }
    this.#clients++
    this.#accepted++
    this.#governor?.joined()
    this.silent?.add(fd, this.#firstByteTimeout)
    this.#ids.add(fd)
    this.#keeper?.parked(fd)
    if (this.proxy?.expectsFrom(fd)) {
      this.reactor.state[fd] = HEADER
      return 0
    }
    // The handler is called last, so that the connection is complete if the handler throws.
    this.#callBack(fd, this.#handlers.open)
    return 0
  }

  onPause(error: SystemError): void {
    this.#report(error)
  }

  onFailure(error: SystemError): void {
    void this.close()
    this.#report(error)
  }

  #report(error: SystemError): void {
    this.scopes.runForServer(this.#handlers.error ?? warnOf, undefined, error)
  }

  /** Calls a handler for a connection. */
  #callBack<B>(fd: number, handler: ((connection: Connection, b: B) => void) | undefined, b?: B): void {
    if (handler === undefined) return
    if (this.#asyncContext) this.scopes.callBack(fd, handler, undefined, this.#argumentOf(handler, fd), b)
    else runWithoutContext(handler, this.#argumentOf(handler, fd), b as B)
  }

  /**
   * Returns the connection that a handler is called with. None is made for a handler that does not see it: a crowd
   * would leave two objects for each connection, and their memory would have to be released.
   */
  #argumentOf(handler: unknown, fd: number): Connection {
    if (handler === this.#bareOpen || handler === this.#bareClose) return undefined as unknown as Connection
    return new ConnectionHandle(this, fd, this.#idOf(fd))
  }

  #idOf(fd: number): number {
    const serial = this.reactor.serial[fd] as number
    // As a small integer, if it is one, a number is not an object of its own.
    const small = serial | 0
    return small === serial ? small : serial
  }

  // Called by the reactor.

  ready(fd: number, events: number): void {
    if (this.#keeper === undefined) {
      this.#handle(fd, events)
      return
    }
    const serial = this.reactor.serial[fd]
    // Before anything is read: the keeper has only what is untouched.
    this.#keeper.leaving(fd)
    this.#handle(fd, events)
    if (this.reactor.serial[fd] === serial) this.#keeper?.parked(fd)
  }

  #handle(fd: number, events: number): void {
    if (this.proxy !== undefined && ((this.reactor.state[fd] as number) & HEADER) !== 0) {
      this.#readProxyHeader(fd, this.proxy)
      return
    }
    const serial = this.reactor.serial[fd] as number
    // Reads first, as libuv does: a write that fails must not lose what the peer had sent before.
    const readable = (events & (EPOLLIN | EPOLLRDHUP)) !== 0
    const reads = readable && ((this.reactor.state[fd] as number) & NOT_READING) === 0
    if (reads) this.#receive(fd, serial, (events & EPOLLRDHUP) !== 0)
    // A handler may have closed the connection, and its descriptor may already belong to another one.
    if (this.reactor.serial[fd] !== serial) return
    if ((events & EPOLLOUT) !== 0) this.#flush(fd)
    if (reads || this.reactor.serial[fd] !== serial) return
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.#onHangUp(fd, events)
  }

  /** Reads the header of a new connection. The bytes that follow it are reported in the next turn. */
  #readProxyHeader(fd: number, proxy: ProxyProtocol): void {
    const result = proxy.read(fd)
    if (result === 'more') return
    if (result === 'end' || result === 'reset') this.#destroy(fd)
    else if (result instanceof Error) this.#onProxyFailure(fd, result)
    else {
      if (result !== 'own') this.proxied.set(fd, result)
      this.reactor.state[fd] = 0
      this.#callBack(fd, this.#handlers.open)
    }
  }

  #onProxyFailure(fd: number, error: ProxyFailure): void {
    const peer = peerAddress(fd)
    this.#destroy(fd)
    const { proxyError } = this.#handlers
    if (proxyError !== undefined) this.scopes.runForServer(proxyError, undefined, error, peer)
  }

  /**
   * Reads once, so that one busy connection does not keep the others waiting.
   *
   * @param serial the connection's serial number
   * @param toTheEnd whether to read all that is left, because the peer has sent its FIN
   */
  #receive(fd: number, serial: number, toTheEnd: boolean): void {
    const { data } = this.#handlers
    for (;;) {
      const received = data === undefined ? receiveAndDrop(fd) : this.#slab.receive(fd)
      if (received > 0) {
        this.silent?.remove(fd)
        if (data !== undefined) {
          const bytes = this.#slab.take(received)
          this.#callBack(fd, data, bytes)
          if (this.reactor.serial[fd] !== serial || ((this.reactor.state[fd] as number) & NOT_READING) !== 0) return
        }
        if (!toTheEnd) return
      } else if (received === 0) {
        this.#onPeerEnd(fd)
        return
      } else {
        if (received !== -E.EAGAIN) this.#destroy(fd, systemError('recv', -received))
        return
      }
    }
  }

  /** Closes a connection that has sent nothing in time. If bytes wait in the kernel, the reactor is about to report. */
  #onSilence(fd: number): void {
    if (peek(fd, 1) === -E.EAGAIN) this.destroy(fd)
  }

  /** Closes the connection after the peer's FIN, as soon as the queued bytes are sent. */
  #onPeerEnd(fd: number): void {
    const state = this.reactor.state[fd] as number
    if ((state & BLOCKED) === 0) {
      this.#destroy(fd)
      return
    }
    this.#setState(fd, state | HALF_CLOSED)
  }

  /** Handles a hang-up or an error of a connection that is not being read. */
  #onHangUp(fd: number, events: number): void {
    const state = this.reactor.state[fd] as number
    if ((state & FAILED) !== 0) {
      this.#destroy(fd, this.#failures.get(fd))
    } else if ((events & EPOLLERR) !== 0) {
      const errno = takeError(fd)
      this.#destroy(fd, errno === 0 ? undefined : systemError('read', errno))
    } else if ((state & PAUSED) !== 0 && peek(fd, 1) > 0) {
      // What the peer sent before it closed is read when the connection is resumed.
      this.#setState(fd, state | HUNG_UP)
    } else {
      this.#destroy(fd)
    }
  }

  /** Sends queued bytes. */
  #flush(fd: number): void {
    const queue = this.queues.get(fd)
    if (queue === undefined) return
    const { chunks } = queue
    for (const [i, chunk] of chunks.entries()) {
      const sent = this.#send(fd, chunk)
      if (sent < 0) {
        this.#destroy(fd, systemError('send', -sent))
        return
      }
      queue.bytes -= sent
      queue.since = performance.now()
      if (sent < chunk.length) {
        chunks.splice(0, i + 1, chunk.subarray(sent))
        return
      }
    }
    this.queues.delete(fd)
    const state = (this.reactor.state[fd] as number) & ~BLOCKED
    if ((state & HALF_CLOSED) !== 0) {
      this.#destroy(fd)
      return
    }
    this.#setState(fd, state)
    if ((state & ENDING) !== 0) this.#sendFin(fd)
    else this.#callBack(fd, this.#handlers.drain)
  }

  /** @returns how many bytes the kernel took; a negative errno if the connection is broken */
  #send(fd: number, bytes: Uint8Array): number {
    // An echo sends bytes that it has just received. Sending them by address makes an echo about 10 % cheaper.
    const address = this.#slab.addressOf(bytes)
    return address === 0 ? sendBytes(fd, bytes) : sendAt(fd, address, bytes.length)
  }

  /**
   * Closes a connection after a failed write, but not before the caller's `write()` has returned. The shutdown makes
   * epoll report a hang-up, and `#onHangUp()` closes the connection.
   */
  #fail(fd: number, error: SystemError): void {
    this.#failures.set(fd, error)
    shutdownBoth(fd)
    this.#setState(fd, (this.reactor.state[fd] as number) | FAILED)
  }

  #sendFin(fd: number): void {
    this.#setState(fd, ((this.reactor.state[fd] as number) & ~ENDING) | ENDED)
    shutdownWrite(fd)
  }

  /** Sets the state of a connection, and the events that it is watched for. */
  #setState(fd: number, state: number): void {
    if (this.reactor.state[fd] === state) return
    this.reactor.state[fd] = state
    this.reactor.modify(fd, eventsOf(state))
    if (this.#keeper === undefined) return
    if (this.moving.canKeep(fd)) this.#keeper.parked(fd)
    else this.#keeper.leaving(fd)
  }

  /**
   * Called whenever a connection has closed. A call for the last one only would come after V8 has optimised the closing
   * of a crowd without it, and V8 would throw that code away.
   */
  #finishIfEmpty(): void {
    if (this.#resolveClosing === undefined || this.#clients > 0) return
    if (this.#owner !== -1) this.reactor.unregister(this.#owner)
    leaveServed(this)
    this.unref()
    this.#owner = -1
    this.#resolveClosing()
    this.#resolveClosing = undefined
    this.onClosed?.()
  }

  // Called by handles, which have checked that `fd` still belongs to their connection.

  write(fd: number, bytes: Uint8Array): boolean {
    const state = this.reactor.state[fd] as number
    if ((state & (ENDING | ENDED)) !== 0) throw new EbbError('ERR_STREAM_WRITE_AFTER_END', 'write after end()')
    if ((state & (FAILED | HALF_CLOSED)) !== 0) return false
    if (bytes.length === 0) return (state & BLOCKED) === 0
    if ((state & BLOCKED) !== 0) {
      const queue = this.queues.get(fd) as SendQueue
      queue.chunks.push(Buffer.from(bytes))
      queue.bytes += bytes.length
      return false
    }
    const sent = this.#send(fd, bytes)
    if (sent === bytes.length) return true
    if (sent < 0) {
      this.#fail(fd, systemError('send', -sent))
      return false
    }
    // Copied, because the caller may reuse its buffer, and `bytes` may be a small part of a large buffer.
    const rest = Buffer.from(bytes.subarray(sent))
    this.queues.set(fd, { chunks: [rest], bytes: rest.length, since: performance.now() })
    this.#setState(fd, state | BLOCKED)
    return false
  }

  end(fd: number): void {
    const state = this.reactor.state[fd] as number
    if ((state & (ENDING | ENDED)) !== 0) return
    if ((state & BLOCKED) !== 0) this.reactor.state[fd] = state | ENDING
    else this.#sendFin(fd)
  }

  /** Closes a connection for the program. @throws what the `close` handler throws */
  destroy(fd: number): void {
    const before = this.#failure
    this.#failure = undefined
    this.#destroy(fd, undefined, this.#handlers.close && this.#closeForProgram)
    const failure = this.#failure as { error: unknown } | undefined
    this.#failure = before
    if (failure !== undefined) throw failure.error
  }

  /** What the `close` handler has thrown in {@link destroy}. */
  #failure: { error: unknown } | undefined
  // A field, because a crowd must not leave a function for each connection.
  readonly #closeForProgram = (connection: Connection): void => {
    const { close } = this.#handlers
    try {
      close?.(connection)
    } catch (error) {
      this.#failure = { error }
    }
  }

  /** Closes a connection and calls the `close` handler. @param error what broke the connection, if anything did */
  #destroy(fd: number, error?: SystemError, close = this.#handlers.close): void {
    const id = this.#idOf(fd)
    const connection = this.#argumentOf(close, fd)
    const state = this.reactor.state[fd] as number
    if ((state & BLOCKED) !== 0) this.queues.delete(fd)
    if ((state & FAILED) !== 0) this.#failures.delete(fd)
    if ((state & HEADER) !== 0) this.proxy?.forget(fd)
    this.proxied.delete(fd)
    this.silent?.remove(fd)
    this.#keeper?.leaving(fd)
    this.reactor.close(fd)
    this.#onGone(id)
    if (close === undefined || (state & HEADER) !== 0) this.scopes.end(fd)
    else if (this.#asyncContext) {
      const asyncId = this.scopes.id(fd)
      this.scopes.end(fd)
      this.scopes.run(asyncId, close, undefined, connection, error)
    } else runWithoutContext(close, connection, error)
    if (this.attachments.bytes > 0) this.attachments.delete(id)
    this.#finishIfEmpty()
  }

  #onGone(id: number): void {
    this.#clients--
    this.#governor?.left()
    this.#ids.delete(id)
    if (this.#acceptor?.accepting === false) this.#acceptor.resume()
  }

  pause(fd: number): void {
    this.#setState(fd, (this.reactor.state[fd] as number) | PAUSED)
  }

  resume(fd: number): void {
    this.#setState(fd, (this.reactor.state[fd] as number) & ~(PAUSED | HUNG_UP))
  }

  remoteAddress(fd: number): AddressInfo | undefined {
    return this.proxied.client(fd) ?? peerAddress(fd)
  }

  queued(fd: number): number {
    return this.queues.get(fd)?.bytes ?? 0
  }

  attachment(id: number): unknown {
    return restored(this.attachments.get(id))
  }

  attach(fd: number, value: unknown): void {
    this.attachments.set(this.reactor.serial[fd] as number, value)
    this.#keeper?.parked(fd)
  }

  isElsewhere(id: number): boolean {
    return this.moving.elsewhere?.has(id) === true
  }

  pass(id: number, order: Order, bytes?: Uint8Array): boolean {
    return this.moving.pass(id, order, bytes)
  }

  // Called by the program with the id of a connection.

  find(id: number): number {
    return this.#ids.find(id)
  }

  send(id: number, data: string | Uint8Array): boolean {
    checkId(id)
    const bytes = toBytes(data)
    const fd = this.find(id)
    if (fd === -1) return this.moving.pass(id, 'send', bytes)
    return this.#sendTo(fd, bytes)
  }

  /** @returns whether the bytes are sent, or queued */
  #sendTo(fd: number, bytes: Uint8Array): boolean {
    if (((this.reactor.state[fd] as number) & NOT_WRITABLE) !== 0) return false
    this.write(fd, bytes)
    return ((this.reactor.state[fd] as number) & FAILED) === 0
  }

  broadcast(data: string | Uint8Array, filter?: (id: number) => boolean): Promise<number> {
    checkFunction(filter, 'filter of broadcast()')
    // A copy, because it is sent later.
    const bytes = Buffer.from(toBytes(data))
    const all = [...this.#ids.all()]
    for (const id of this.moving.elsewhere?.ids(true) ?? []) all.push([id, -1])
    return this.#broadcasts.add(all, ([id, fd]) => {
      if (filter !== undefined && !filter(id)) return false
      if (fd !== -1 && this.reactor.serial[fd] === id) return this.#sendTo(fd, bytes)
      // It has moved, or closed, since the broadcast was queued, or it was in another process.
      if (this.isElsewhere(id)) return this.moving.pass(id, 'send', bytes)
      const arrived = fd === -1 ? this.find(id) : -1
      return arrived !== -1 && this.#sendTo(arrived, bytes)
    })
  }

  closeConnection(id: number): boolean {
    checkId(id)
    const fd = this.find(id)
    if (fd === -1) return this.moving.pass(id, 'close')
    this.destroy(fd)
    return true
  }

  // Called by the handover.

  set keeper(keeper: ConnectionKeeper | undefined) {
    this.#keeper = keeper
  }

  /** The listening socket; undefined if the listener does not listen. */
  get socket(): ListeningSocket | undefined {
    return this.#acceptor === undefined || this.#acceptor.fd === -1 ? undefined : this.#socket
  }

  /** Leaves the listening socket to another process. */
  surrenderListening(): void {
    const { socket } = this
    if (socket === undefined) return
    this.#acceptor?.surrender()
    closeDescriptor(socket.fd)
  }

  onAdopted(fd: number): void {
    this.#clients++
    this.#accepted++
    this.#governor?.joined()
    this.#ids.add(fd)
    this.#keeper?.parked(fd)
  }

  onGivenUp(id: number, wasHere: boolean): void {
    if (!wasHere) this.#accepted--
    this.#onGone(id)
    this.#finishIfEmpty()
  }

  announce(fd: number, handler: 'open' | 'moved'): void {
    this.#callBack(fd, this.#handlers[handler])
  }

  /** Calls a handler of the handover, in a later turn. */
  emit(event: 'handedOver' | 'handoverFailed', argument: unknown): void {
    const handler = this.#handlers[event] as ((argument: unknown) => void) | undefined
    if (handler !== undefined) batchSoon(() => this.scopes.runForServer(handler, undefined, argument))
  }
}

function warnOf({ message, code }: SystemError): void {
  process.emitWarning(message, { code })
}
