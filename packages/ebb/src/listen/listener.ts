/**
 * `listen()`: a TCP or Unix server whose connections are bare descriptors in epoll.
 *
 * Handlers are shared by all connections, and nothing is kept for one but its entry in the reactor's arrays. A
 * {@link Connection} is made when a handler is called, and is garbage afterwards unless the handler keeps it. Only a
 * connection whose peer reads too slowly has an object here: the bytes that wait for it.
 */
import { Governor } from '../govern/connection-governor.js'
import { tuneAllocator } from '../memory/thresholds.js'
import { Acceptor, type Host } from '../socket/acceptor.js'
import { closeSocket, type ListeningSocket, type ListenOptions, openSocket } from '../socket/listening-socket.js'
import { type SystemError, systemError } from '../sys/errors.js'
import * as libc from '../sys/libc.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'
import { SCRATCH, scratch } from '../sys/scratch.js'
import { type AddressInfo, formatAddress } from '../sys/sockaddr.js'
import { takeError } from '../sys/socket-options.js'
import { Connection } from './connection.js'

/** What happens to the connections of a listener. All are optional; `this` is not set. */
export interface Handlers {
  /** A connection was accepted. */
  open?(connection: Connection): void
  /** Bytes came: at least one, the handler's to keep. Without this handler they are read and dropped. */
  data?(connection: Connection, bytes: Buffer): void
  /** All that `write()` could not pass to the kernel has now been passed. */
  drain?(connection: Connection): void
  /** The connection is gone: closed by either side, or broken (`error`). Called once for each connection that was opened. */
  close?(connection: Connection, error?: SystemError): void
  /**
   * The listener cannot accept for now (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: it pauses, says so once, and goes on by itself) or
   * for ever (anything else). Without this handler: a process warning.
   */
  error?(error: SystemError): void
}

/** The states of a connection: bits in the reactor's byte for its descriptor. */
const PAUSED = 1
/** `end()` was called: a FIN follows the last byte. */
const ENDING = 2
/** The FIN is sent. */
const ENDED = 4
/** The peer's FIN has come. */
const HALF_CLOSED = 8
/** Bytes wait for the peer: there is an entry in `#backlogs`. */
const BLOCKED = 16
/** A write failed, and the hang-up that closes the connection is on its way: there is an entry in `#failures`. */
const FAILED = 32
/** Both directions are over, and bytes wait until it reads on. */
const HUNG_UP = 64

/** Where nothing is read. */
const NOT_READING = PAUSED | HALF_CLOSED | FAILED

/** Received bytes are slices of slabs of this size, so that a handler may keep what it got. */
const SLAB = 65_536
/** Less room than this at the end of a slab: a new one. */
const SLAB_REST = 4096

/** What the kernel did not take from `write()`, oldest first. */
interface Backlog {
  chunks: Buffer[]
  bytes: number
}

/** A listening socket and its connections. Made by {@link listen}. */
export class Listener implements Watcher, Host {
  /** Where it listens: the port that the kernel chose, if it did. */
  readonly address: AddressInfo
  /** @internal */
  readonly reactor: Reactor
  /**
   * @internal A handle that is always there: a give-back while nobody is connected would forget the class of handles, and V8 throw away what it has
   * optimised for it.
   */
  readonly nobody = new Connection(this, -1, -1)

  readonly #handlers: Handlers
  readonly #owner: number
  readonly #acceptor: Acceptor
  readonly #governor: Governor | undefined
  readonly #backlogs = new Map<number, Backlog>()
  readonly #failures = new Map<number, SystemError>()
  #clients = 0
  #accepted = 0
  #referenced = true
  #closed: (() => void) | undefined
  #closing: Promise<void> | undefined

  #slab: Buffer | undefined
  #slabAt = 0
  #slabUsed = 0

  /** @internal Use {@link listen}. The socket is the listener's once this returns. */
  constructor(socket: ListeningSocket, handlers: Handlers, governor: Governor | undefined) {
    this.reactor = reactor()
    this.address = socket.address
    this.#handlers = handlers
    this.#governor = governor
    this.#owner = this.reactor.register(this)
    const failed = this.reactor.add(socket.fd, libc.EPOLLIN, this.#owner)
    if (failed !== 0) {
      this.reactor.unregister(this.#owner)
      throw systemError('epoll_ctl', failed, formatAddress(socket.address))
    }
    this.#acceptor = new Acceptor(this.reactor, socket, this)
    this.reactor.ref()
  }

  /** Connections that are open now. */
  get clients(): number {
    return this.#clients
  }

  /** Connections accepted since the start. */
  get accepted(): number {
    return this.#accepted
  }

  /** False while accepting pauses for want of descriptors or memory, and after {@link close}. */
  get accepting(): boolean {
    return this.#acceptor.accepting
  }

  /** Does not let this listener hold the process open. */
  unref(): this {
    if (this.#referenced) this.reactor.unref()
    this.#referenced = false
    return this
  }

  /** Undoes {@link unref}. */
  ref(): this {
    if (!this.#referenced && this.#closing === undefined) {
      this.reactor.ref()
      this.#referenced = true
    }
    return this
  }

  /** Stops accepting; connections stay. Resolves when the last is gone. */
  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#closed = resolve
      this.#acceptor.close()
      this.#finishIfEmpty()
    })
    return this.#closing
  }

  /**
   * Closes every connection now; what waits to be sent is lost. Calls `close` for each; throws what the first of them
   * threw, after the last.
   */
  closeConnections(): void {
    const errors: unknown[] = []
    const { reactor } = this
    // Once closed and empty, it is not this listener that the reactor knows by `#owner`.
    if (this.#clients === 0) return
    for (let fd = reactor.next(this.#owner, -1); fd !== -1; fd = reactor.next(this.#owner, fd)) {
      if (fd === this.#acceptor.fd) continue
      try {
        this.#destroy(fd)
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }

  /** @internal */
  ready(fd: number, events: number): void {
    if (fd === this.#acceptor.fd) this.#acceptor.ready()
    else this.#serve(fd, events)
  }

  /** @internal Takes a connection that was accepted: 0, or the errno when it cannot be watched. */
  welcome(fd: number): number {
    const failed = this.reactor.add(fd, libc.EPOLLIN | libc.EPOLLRDHUP, this.#owner)
    if (failed !== 0) {
      this.reactor.discard(fd)
      return failed
    }
    this.#clients++
    this.#accepted++
    this.#governor?.joined()
    // One that throws finds its connection in place.
    this.#handlers.open?.(new Connection(this, fd, this.reactor.serial[fd] as number))
    return 0
  }

  /** @internal */
  broken(error: SystemError): void {
    void this.close()
    this.report(error)
  }

  /** @internal */
  report(error: SystemError): void {
    if (this.#handlers.error !== undefined) this.#handlers.error(error)
    else process.emitWarning(error.message, { code: error.code })
  }

  #serve(fd: number, events: number): void {
    const serial = this.reactor.serial[fd] as number
    // First, as libuv does: a write that finds the connection broken must not cost what the peer had sent before.
    const readable = (events & (libc.EPOLLIN | libc.EPOLLRDHUP)) !== 0
    const reads = readable && ((this.reactor.state[fd] as number) & NOT_READING) === 0
    if (reads) this.#receive(fd, serial, (events & libc.EPOLLRDHUP) !== 0)
    // A handler may have closed it, and the number may be another connection's by now.
    if (this.reactor.serial[fd] !== serial) return
    if ((events & libc.EPOLLOUT) !== 0) this.#flush(fd)
    if (reads || this.reactor.serial[fd] !== serial) return
    if ((events & (libc.EPOLLERR | libc.EPOLLHUP)) !== 0) this.#broken(fd, events)
  }

  /** Reads once, or to the end when the peer has sent its FIN. Once: one loud connection does not keep the others waiting. */
  #receive(fd: number, serial: number, toTheEnd: boolean): void {
    const { data } = this.#handlers
    for (;;) {
      const received = data === undefined ? this.#drop(fd) : this.#take(fd)
      if (received > 0) {
        if (data !== undefined) {
          const bytes = this.#slice(received)
          data(new Connection(this, fd, serial), bytes)
          if (this.reactor.serial[fd] !== serial || ((this.reactor.state[fd] as number) & NOT_READING) !== 0) return
        }
        if (!toTheEnd) return
      } else if (received === 0) {
        this.#peerEnded(fd)
        return
      } else {
        const errno = libc.errno()
        if (errno === libc.E.EINTR) continue
        if (errno !== libc.E.EAGAIN) this.#destroy(fd, systemError('recv', errno))
        return
      }
    }
  }

  #drop(fd: number): number {
    return libc.recv(fd, scratch(), SCRATCH, 0)
  }

  #take(fd: number): number {
    if (this.#slab === undefined || SLAB - this.#slabUsed < SLAB_REST) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB)
      this.#slabAt = libc.addressOf(this.#slab)
      this.#slabUsed = 0
    }
    return libc.recv(fd, this.#slabAt + this.#slabUsed, SLAB - this.#slabUsed, 0)
  }

  #slice(length: number): Buffer {
    const from = this.#slabUsed
    this.#slabUsed += length
    return (this.#slab as Buffer).subarray(from, from + length)
  }

  /** The peer has sent its FIN: it gets what waits for it, then the connection is closed. */
  #peerEnded(fd: number): void {
    const state = this.reactor.state[fd] as number
    if ((state & BLOCKED) === 0) {
      this.#destroy(fd)
      return
    }
    this.#setState(fd, state | HALF_CLOSED)
  }

  /** Both directions are shut, or the connection is broken, and reading (that is paused, or over) does not find it out. */
  #broken(fd: number, events: number): void {
    const state = this.reactor.state[fd] as number
    if ((state & FAILED) !== 0) {
      this.#destroy(fd, this.#failures.get(fd))
    } else if ((events & libc.EPOLLERR) !== 0) {
      const errno = takeError(fd)
      this.#destroy(fd, errno === 0 ? undefined : systemError('read', errno))
    } else if ((state & PAUSED) !== 0 && libc.recv(fd, scratch(), 1, libc.MSG_PEEK) > 0) {
      // What the peer sent before it closed is read when the connection goes on.
      this.#setState(fd, state | HUNG_UP)
    } else {
      this.#destroy(fd)
    }
  }

  /** Sends what waits. */
  #flush(fd: number): void {
    const backlog = this.#backlogs.get(fd)
    if (backlog === undefined) return
    const { chunks } = backlog
    let sentChunks = 0
    for (const chunk of chunks) {
      const sent = this.#send(fd, chunk)
      if (sent === -1) {
        this.#destroy(fd, systemError('send', libc.errno()))
        return
      }
      backlog.bytes -= sent
      if (sent < chunk.length) {
        chunks.splice(0, sentChunks, chunk.subarray(sent))
        chunks.splice(1, 1)
        return
      }
      sentChunks++
    }
    this.#backlogs.delete(fd)
    const serial = this.reactor.serial[fd] as number
    const state = (this.reactor.state[fd] as number) & ~BLOCKED
    if ((state & HALF_CLOSED) !== 0) {
      this.#destroy(fd)
      return
    }
    this.#setState(fd, state)
    if ((state & ENDING) !== 0) this.#sendFin(fd)
    else this.#handlers.drain?.(new Connection(this, fd, serial))
  }

  /** How many bytes the kernel took: 0 to all; -1: the connection is broken, see errno. */
  #send(fd: number, bytes: Uint8Array): number {
    for (;;) {
      const sent =
        bytes.buffer === this.#slab?.buffer
          ? // What was just received, by its address: a tenth of the price of an echo.
            libc.send(fd, this.#slabAt + bytes.byteOffset, bytes.length, libc.MSG_NOSIGNAL)
          : libc.sendBuffer(fd, bytes, bytes.length, libc.MSG_NOSIGNAL)
      if (sent !== -1) return sent
      const errno = libc.errno()
      // ENOBUFS, ENOMEM: the kernel is short of memory. No event says when it is not; epoll reports writable at once.
      if (errno === libc.E.EAGAIN || errno === libc.E.ENOBUFS || errno === libc.E.ENOMEM) return 0
      if (errno !== libc.E.EINTR) return -1
    }
  }

  /**
   * A connection that cannot be written to is over, but not within the caller's `write()`: shutting it down makes epoll
   * report a hang-up, which closes it.
   */
  #fail(fd: number, error: SystemError): void {
    this.#failures.set(fd, error)
    libc.shutdown(fd, libc.SHUT_RDWR)
    this.#setState(fd, (this.reactor.state[fd] as number) | FAILED)
  }

  #sendFin(fd: number): void {
    this.#setState(fd, ((this.reactor.state[fd] as number) & ~ENDING) | ENDED)
    // ENOTCONN: the peer has reset it; the event that says so is on its way.
    libc.shutdown(fd, libc.SHUT_WR)
  }

  /** Sets the state of a connection, and watches it for what that state waits for. */
  #setState(fd: number, state: number): void {
    if (this.reactor.state[fd] === state) return
    this.reactor.state[fd] = state
    let events = 0
    if ((state & NOT_READING) === 0) events |= libc.EPOLLIN | libc.EPOLLRDHUP
    if ((state & BLOCKED) !== 0) events |= libc.EPOLLOUT
    // A hang-up is reported whether it is asked for or not: so, once.
    if ((state & HUNG_UP) !== 0) events |= libc.EPOLLET
    this.reactor.modify(fd, events)
  }

  #destroy(fd: number, error?: SystemError): void {
    const serial = this.reactor.serial[fd] as number
    const state = this.reactor.state[fd] as number
    if ((state & BLOCKED) !== 0) this.#backlogs.delete(fd)
    if ((state & FAILED) !== 0) this.#failures.delete(fd)
    this.reactor.close(fd)
    this.#clients--
    this.#governor?.left()
    if (!this.#acceptor.accepting) this.#acceptor.resume()
    const { close } = this.#handlers
    try {
      if (close !== undefined) close(new Connection(this, fd, serial), error)
    } finally {
      if (this.#clients === 0) this.#finishIfEmpty()
    }
  }

  #finishIfEmpty(): void {
    if (this.#closed === undefined || this.#clients > 0) return
    this.reactor.unregister(this.#owner)
    this.unref()
    this.#closed()
    this.#closed = undefined
  }

  // What a Connection does. `fd` is its descriptor: the handle has checked that it still is.

  /** @internal */
  write(fd: number, bytes: Uint8Array): boolean {
    const state = this.reactor.state[fd] as number
    if ((state & (ENDING | ENDED)) !== 0) throw writeAfterEnd()
    if ((state & (FAILED | HALF_CLOSED)) !== 0) return false
    if (bytes.length === 0) return (state & BLOCKED) === 0
    if ((state & BLOCKED) !== 0) {
      const backlog = this.#backlogs.get(fd) as Backlog
      backlog.chunks.push(Buffer.from(bytes))
      backlog.bytes += bytes.length
      return false
    }
    const sent = this.#send(fd, bytes)
    if (sent === bytes.length) return true
    if (sent === -1) {
      this.#fail(fd, systemError('send', libc.errno()))
      return false
    }
    // Copied: the caller may use its buffer again, and `bytes` may be a part of a much larger one.
    const rest = Buffer.from(bytes.subarray(sent))
    this.#backlogs.set(fd, { chunks: [rest], bytes: rest.length })
    this.#setState(fd, state | BLOCKED)
    return false
  }

  /** @internal */
  end(fd: number): void {
    const state = this.reactor.state[fd] as number
    if ((state & (ENDING | ENDED)) !== 0) return
    if ((state & BLOCKED) !== 0) this.reactor.state[fd] = state | ENDING
    else this.#sendFin(fd)
  }

  /** @internal */
  destroy(fd: number): void {
    this.#destroy(fd)
  }

  /** @internal */
  pause(fd: number): void {
    this.#setState(fd, (this.reactor.state[fd] as number) | PAUSED)
  }

  /** @internal */
  resume(fd: number): void {
    this.#setState(fd, (this.reactor.state[fd] as number) & ~(PAUSED | HUNG_UP))
  }

  /** @internal */
  queued(fd: number): number {
    return this.#backlogs.get(fd)?.bytes ?? 0
  }
}

function writeAfterEnd(): Error {
  return Object.assign(new Error('write after end()'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
}

/**
 * Listens, at once.
 *
 * ```ts
 * const server = listen({ port: 3033 }, { data: (connection, bytes) => connection.write(bytes) })
 * console.log(server.address, server.clients)
 * ```
 *
 * @throws {SystemError} EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE, ... of `socket`, `bind` or `listen`
 * @throws TypeError for options that cannot be
 * @throws `ERR_EBB_UNSUPPORTED` where there is no epoll or no koffi
 */
export function listen(options: ListenOptions, handlers: Handlers = {}): Listener {
  tuneAllocator({ timer: true })
  const governor = toGovernor(options.giveBack)
  const socket = openSocket(options)
  try {
    return new Listener(socket, handlers, governor)
  } catch (error) {
    closeSocket(socket)
    throw error
  }
}

function toGovernor(giveBack: ListenOptions['giveBack'] = true): Governor | undefined {
  if (giveBack === false) return undefined
  return new Governor(giveBack === true ? {} : giveBack)
}
