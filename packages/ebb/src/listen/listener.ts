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
import type { ListeningSocket } from '../socket/listening-socket.js'
import { ProxiedAddresses } from '../socket/proxied.js'
import {
  type ProxyFailure,
  type ProxyProtocol,
  type ProxyProtocolOptions,
  proxyProtocolOf
} from '../socket/proxy-protocol.js'
import { type ShutdownHost, type ShutdownOptions, type ShutdownReport, shutDown } from '../socket/shutdown.js'
import { Wheel } from '../socket/timer-wheel.js'
import { type Audited, announceCreated, targetOf } from '../sys/audit.js'
import { E, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../sys/constants.js'
import { EbbError, type SystemError, systemError } from '../sys/errors.js'
import { CallbackScopes, runWithoutContext } from '../sys/node/callback-scope.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'
import { ReceiveSlab } from '../sys/receive-slab.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import { peerAddress, shutdownBoth, shutdownWrite, takeError } from '../sys/socket.js'
import { peek, receiveAndDrop, sendAt, sendBytes } from '../sys/transfer.js'
import { type Connection, ConnectionHandle, type ConnectionHost } from './connection.js'

/** Handlers of a listener, shared by all its connections. All are optional and are called without `this`. */
export interface Handlers {
  /** Called when a connection was accepted. */
  open?(connection: Connection): void
  /**
   * Called with at least one received byte. The handler may keep `bytes`. Without this handler, received bytes are read
   * and dropped.
   */
  data?(connection: Connection, bytes: Buffer): void
  /** Called when the kernel has taken all bytes that `write()` had to queue. */
  drain?(connection: Connection): void
  /**
   * Called once for each opened connection when it is closed by either side, or broken.
   *
   * @param error what broke the connection; undefined if it was closed
   */
  close?(connection: Connection, error?: SystemError): void
  /**
   * Called when the listener cannot accept connections. With `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` or `ENOSPC` (too
   * many epoll watches), accepting pauses and resumes by itself. Further pauses are not reported until the number of
   * clients has changed by more than 10 %. With any other code, the listener closes. Without this handler, the error
   * becomes a process warning.
   */
  error?(error: SystemError): void
  /**
   * Called when a connection was closed because it did not begin with a valid header of the PROXY protocol. The other
   * handlers were not called for it.
   *
   * @param error `ERR_EBB_PROXY_HEADER` or `ERR_EBB_PROXY_TIMEOUT`
   * @param peer address of the peer; undefined if it is gone
   */
  proxyError?(error: EbbError, peer: AddressInfo | undefined): void
}

// States of a connection: bits in the reactor's byte for its descriptor.

/** `pause()` was called. */
const PAUSED = 1
/** `end()` was called: a FIN follows the last queued byte. */
const ENDING = 2
/** The FIN is sent. */
const ENDED = 4
/** The peer has sent its FIN. */
const HALF_CLOSED = 8
/** Bytes wait to be sent: there is an entry in `#queues`. */
const BLOCKED = 16
/**
 * A write failed; epoll is about to report the hang-up that closes the connection. There is an entry in `#failures`.
 */
const FAILED = 32
/** Both directions are shut down, and received bytes wait until the connection is resumed. */
const HUNG_UP = 64
/** A header of the PROXY protocol is expected. No handler was called yet. */
const HEADER = 128

/** States in which nothing is read. */
const NOT_READING = PAUSED | HALF_CLOSED | FAILED

/** Bytes that the kernel did not take, oldest first. */
interface SendQueue {
  chunks: Buffer[]
  bytes: number
}

/** The implementation of `Listener`. */
export class EpollListener implements Audited, Watcher, AcceptHost, ConnectionHost, ShutdownHost {
  readonly address: AddressInfo
  readonly reactor: Reactor

  readonly #handlers: Handlers
  /** An unused handle, which keeps the hidden class of handles alive while there are no connections. */
  readonly retained: Retained
  readonly #owner: number
  readonly #acceptor: Acceptor
  readonly #governor: Governor | undefined
  /** Bytes that wait to be sent, by descriptor. */
  readonly #queues = new Map<number, SendQueue>()
  /** Errors of failed writes, by descriptor. */
  readonly #failures = new Map<number, SystemError>()
  readonly #firstByteTimeout: number
  readonly #asyncContext: boolean
  /** Deadlines of the connections that have not sent a byte, by descriptor. */
  readonly #silent: Wheel | undefined
  #clients = 0
  #accepted = 0
  #referenced = true
  /** The promise of {@link close}, and the function that resolves it. */
  #closing: Promise<void> | undefined
  #resolveClosing: (() => void) | undefined
  #shutdown: Promise<ShutdownReport> | undefined

  readonly #proxy: ProxyProtocol | undefined
  /** By descriptor: addresses that a balancer has told. */
  readonly #proxied = new ProxiedAddresses()
  readonly #slab = new ReceiveSlab()
  /** By descriptor: in which scope the handlers are called. */
  readonly #scopes = new CallbackScopes()

  /**
   * Starts to accept from `socket`. The listener owns `socket` from then on.
   *
   * @param firstByteTimeout ms after which a connection that has not sent a byte is closed; 0: never
   * @param asyncContext whether handlers run in a context of their connection
   * @throws {SystemError} of `epoll_ctl`; the caller still owns the socket
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for a `proxyProtocol` that is not valid
   */
  constructor(
    socket: ListeningSocket,
    handlers: Handlers,
    governor: Governor | undefined,
    firstByteTimeout: number,
    asyncContext: boolean,
    proxyProtocol?: boolean | ProxyProtocolOptions
  ) {
    this.#proxy = proxyProtocolOf(proxyProtocol, (fd, error) => this.#onProxyFailure(fd, error))
    this.reactor = reactor()
    this.address = socket.address
    this.#handlers = handlers
    this.#governor = governor
    this.#firstByteTimeout = firstByteTimeout
    this.#asyncContext = asyncContext
    if (firstByteTimeout > 0) this.#silent = new Wheel((fd) => this.#onSilence(fd))
    this.retained = retain(new ConnectionHandle(this, -1, -1))
    this.#acceptor = new Acceptor(this.reactor, socket, this)
    this.#scopes.onListening()
    this.#owner = this.reactor.register(this)
    announceCreated(this)
    this.reactor.ref()
  }

  audit(): string[] {
    const wrong: string[] = []
    let open = 0
    let timers = 0
    const { reactor } = this
    const isClosed = this.#closing !== undefined && this.#resolveClosing === undefined
    for (let fd = isClosed ? -1 : reactor.next(this.#owner, -1); fd !== -1; fd = reactor.next(this.#owner, fd)) {
      open++
      if (this.#silent?.has(fd)) timers++
      if (!targetOf(fd)?.startsWith('socket:')) wrong.push(`descriptor ${fd} is ${targetOf(fd)}`)
      const blocked = ((reactor.state[fd] as number) & BLOCKED) !== 0
      if (this.#queues.has(fd) !== blocked) wrong.push(`descriptor ${fd} is ${blocked ? '' : 'not '}blocked`)
    }
    if (open !== this.#clients) wrong.push(`clients: ${this.#clients}, expected ${open}`)
    if (timers !== (this.#silent?.size ?? 0)) wrong.push(`timers: ${this.#silent?.size}, expected ${timers}`)
    for (const fd of this.#queues.keys())
      if (reactor.ownerOf(fd) !== this.#owner) wrong.push(`a queue of ${fd} is left`)
    return wrong
  }

  get clients(): number {
    return this.#clients
  }

  get accepted(): number {
    return this.#accepted
  }

  get accepting(): boolean {
    return this.#acceptor.accepting
  }

  unref(): this {
    if (this.#referenced) this.reactor.unref()
    this.#referenced = false
    return this
  }

  ref(): this {
    if (!this.#referenced && this.#closing === undefined) {
      this.reactor.ref()
      this.#referenced = true
    }
    return this
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#resolveClosing = resolve
      if (this.#acceptor.sharesPort) this.#acceptor.drain()
      this.#acceptor.close()
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
    const drained = this.#acceptor.drain()
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
    this.#silent?.add(fd, this.#firstByteTimeout)
    if (this.#proxy?.expectsFrom(fd)) {
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
    this.#scopes.runForServer(this.#handlers.error ?? warnOf, undefined, error)
  }

  /** Calls a handler for a connection. */
  #callBack<B>(fd: number, handler: ((connection: Connection, b: B) => void) | undefined, b?: B): void {
    if (handler === undefined) return
    if (this.#asyncContext) this.#scopes.callBack(fd, handler, undefined, this.#handle(fd), b)
    else runWithoutContext(handler, this.#handle(fd), b as B)
  }

  #handle(fd: number): Connection {
    const serial = this.reactor.serial[fd] as number
    // As a small integer, if it is one, a number is not an object of its own.
    const small = serial | 0
    return new ConnectionHandle(this, fd, small === serial ? small : serial)
  }

  // Called by the reactor.

  ready(fd: number, events: number): void {
    if (this.#proxy !== undefined && ((this.reactor.state[fd] as number) & HEADER) !== 0) {
      this.#readProxyHeader(fd, this.#proxy)
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
      if (result !== 'own') this.#proxied.set(fd, result)
      this.reactor.state[fd] = 0
      this.#callBack(fd, this.#handlers.open)
    }
  }

  #onProxyFailure(fd: number, error: ProxyFailure): void {
    const peer = peerAddress(fd)
    this.#destroy(fd)
    const { proxyError } = this.#handlers
    if (proxyError !== undefined) this.#scopes.runForServer(proxyError, undefined, error, peer)
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
        this.#silent?.remove(fd)
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
    const queue = this.#queues.get(fd)
    if (queue === undefined) return
    const { chunks } = queue
    for (const [i, chunk] of chunks.entries()) {
      const sent = this.#send(fd, chunk)
      if (sent < 0) {
        this.#destroy(fd, systemError('send', -sent))
        return
      }
      queue.bytes -= sent
      if (sent < chunk.length) {
        chunks.splice(0, i + 1, chunk.subarray(sent))
        return
      }
    }
    this.#queues.delete(fd)
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
    let events = 0
    if ((state & NOT_READING) === 0) events |= EPOLLIN | EPOLLRDHUP
    if ((state & BLOCKED) !== 0) events |= EPOLLOUT
    // epoll always reports a hang-up. Edge-triggered, it reports it only once.
    if ((state & HUNG_UP) !== 0) events |= EPOLLET
    this.reactor.modify(fd, events)
  }

  #finishIfEmpty(): void {
    if (this.#resolveClosing === undefined || this.#clients > 0) return
    this.reactor.unregister(this.#owner)
    this.unref()
    this.#resolveClosing()
    this.#resolveClosing = undefined
  }

  // Called by handles, which have checked that `fd` still belongs to their connection.

  write(fd: number, bytes: Uint8Array): boolean {
    const state = this.reactor.state[fd] as number
    if ((state & (ENDING | ENDED)) !== 0) throw new EbbError('ERR_STREAM_WRITE_AFTER_END', 'write after end()')
    if ((state & (FAILED | HALF_CLOSED)) !== 0) return false
    if (bytes.length === 0) return (state & BLOCKED) === 0
    if ((state & BLOCKED) !== 0) {
      const queue = this.#queues.get(fd) as SendQueue
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
    this.#queues.set(fd, { chunks: [rest], bytes: rest.length })
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
    const connection = this.#handle(fd)
    const state = this.reactor.state[fd] as number
    if ((state & BLOCKED) !== 0) this.#queues.delete(fd)
    if ((state & FAILED) !== 0) this.#failures.delete(fd)
    if ((state & HEADER) !== 0) this.#proxy?.forget(fd)
    this.#proxied.delete(fd)
    this.#silent?.remove(fd)
    this.reactor.close(fd)
    this.#clients--
    this.#governor?.left()
    if (!this.#acceptor.accepting) this.#acceptor.resume()
    if (close === undefined || (state & HEADER) !== 0) this.#scopes.end(fd)
    else if (this.#asyncContext) {
      const id = this.#scopes.id(fd)
      this.#scopes.end(fd)
      this.#scopes.run(id, close, undefined, connection, error)
    } else runWithoutContext(close, connection, error)
    if (this.#clients === 0) this.#finishIfEmpty()
  }

  pause(fd: number): void {
    this.#setState(fd, (this.reactor.state[fd] as number) | PAUSED)
  }

  resume(fd: number): void {
    this.#setState(fd, (this.reactor.state[fd] as number) & ~(PAUSED | HUNG_UP))
  }

  remoteAddress(fd: number): AddressInfo | undefined {
    return this.#proxied.client(fd) ?? peerAddress(fd)
  }

  queued(fd: number): number {
    return this.#queues.get(fd)?.bytes ?? 0
  }
}

function warnOf({ message, code }: SystemError): void {
  process.emitWarning(message, { code })
}
