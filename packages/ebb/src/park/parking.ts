/**
 * The connections of a `net.Server`: parked, as bare descriptors in epoll; awake, as ordinary sockets; and the way from one
 * to the other and back.
 *
 * Each descriptor has one owner. Parked, it is the reactor's, and closed here. Awake, it is its socket's, and nothing here
 * touches it. Between the two: waking takes it out of epoll and gives it to a new socket; parking duplicates it, watches the
 * duplicate, and destroys the socket, which closes its own copy without a FIN since the connection lives on in the other.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Governor } from '../govern/connection-governor.js'
import { onTrim } from '../memory/trim.js'
import { Acceptor, type Host } from '../socket/acceptor.js'
import { type ListeningSocket, localAddress, peerAddress } from '../socket/listening-socket.js'
import { invalidArgument, type SystemError, systemError } from '../sys/errors.js'
import * as libc from '../sys/libc.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'
import { SCRATCH } from '../sys/scratch.js'
import { setOption, takeError } from '../sys/socket-options.js'
import { receive, received, sendFrom, sendNow } from '../sys/transfer.js'
import { Attachments, restored } from './attachments.js'
import { Connection, connectionOf, setConnection } from './connection.js'
import { forwardLate } from './detached-socket.js'
import {
  descriptorOf,
  endAsLast,
  endQuietly,
  type HandleClass,
  handleFrom,
  isFull,
  isQuiet,
  partsOf,
  type ServerInside,
  sendEndlessHead,
  socketFor
} from './node/socket.js'
import { isHttp, type Protocol, protocolOf } from './protocol/protocol.js'
import { ENDED, FRESH, STREAM, Table } from './table.js'
import { Wheel } from './timer-wheel.js'

/** Why a connection is gone. */
export type Cause =
  /** The peer closed it while it was parked. */
  | 'peer'
  /** It broke while it was parked. */
  | 'reset'
  /** It stayed parked for longer than the server allows. */
  | 'timeout'
  /** The server closed it while it was parked. */
  | 'server'
  /** Its socket was closed, by either side, while it was awake. */
  | 'socket'

/** What {@link Parked.stats} tells. Counts are from the start. */
export interface ParkStats {
  /** Connections that are asleep now. */
  parked: number
  /** Connections that have a socket now. */
  awake: number
  accepted: number
  /** Refused at `maxConnections`, or by the server's block list. */
  dropped: number
  /** Wakes, the first of each connection included. */
  woken: number
  parkedAgain: number
  closed: Record<Cause, number>
  /** Memory that is kept for connections outside the kernel, attachments included, but not the sockets of those awake: bytes for each. */
  bytesPerConnection: number
}

export interface ParkingOptions {
  /** ms without a byte after which a connection is parked again; undefined: never. */
  idle: number | undefined
  first: 'client' | 'server'
  /** Bytes. */
  attachmentLimit: number
  governor: Governor | undefined
}

/** Bytes that are looked at before a connection is woken. */
const PEEKED = 16
/** What is watched of a parked connection: bytes, and the peer's FIN. */
const WATCHED = libc.EPOLLIN | libc.EPOLLRDHUP
/** Silence (ms) after which a stream whose reader was slow is parked again, where the server has no `idle` of its own. */
const STREAM_IDLE = 1000
/** A broadcast goes on for this long (ms) before others get their turn. */
const TURN = 2
/** The clock is read after this many. */
const BETWEEN_LOOKS = 32
/** What the reactor keeps for each descriptor (bytes). */
const REACTOR_BYTES = 13

export class Parking implements Watcher, Host {
  readonly #server: ServerInside
  readonly #protocol: Protocol
  readonly #isHttp: boolean
  readonly #options: ParkingOptions
  readonly #table = new Table()
  /** By row: when an awake connection is looked at, and when a parked one has reached its limit. */
  readonly #wheel: Wheel
  readonly #awake = new Map<number, Connection>()
  readonly #attachments: Attachments
  /** By row: requests that were answered, where the server limits them (`maxRequestsPerSocket`). */
  readonly #requests = new Map<number, number>()

  readonly #closed: Record<Cause, number> = { peer: 0, reset: 0, timeout: 0, server: 0, socket: 0 }
  #accepted = 0
  #dropped = 0
  #woken = 0
  #parkedAgain = 0
  #parked = 0

  #reactor: Reactor | undefined
  #owner = -1
  #acceptor: Acceptor | undefined
  /** Connections come. Once they do not, none is parked again: those who close a server wait for its connections to go. */
  #open = false
  /** The listening socket holds the process open. */
  #listening = false
  /** Parked connections hold it open, as sockets would. */
  #holding = false
  #stopTrimming: (() => void) | undefined
  /** The last broadcast: the next one waits for it. */
  #broadcast: Promise<unknown> = Promise.resolve()

  constructor(server: ServerInside, options: ParkingOptions) {
    this.#server = server
    this.#options = options
    this.#attachments = new Attachments(options.attachmentLimit)
    this.#protocol = protocolOf(server, options.idle !== undefined)
    this.#isHttp = isHttp(server)
    this.#wheel = new Wheel(
      (row) => this.#due(row),
      () => this.#protocol.asked()
    )
  }

  // Listening.

  /** What Node makes sockets of on this kind of address. */
  #handleClass: HandleClass | undefined
  /** What the first socket that went to sleep was made of. */
  #specimen: unknown

  /** Accepts from `socket`, which is its own from now on. @throws {SystemError} of `epoll_ctl`: then it is not */
  listen(socket: ListeningSocket, handleClass: HandleClass): void {
    this.#handleClass = handleClass
    const reactor = this.#join()
    const failed = reactor.add(socket.fd, libc.EPOLLIN, this.#owner)
    if (failed !== 0) throw systemError('epoll_ctl', failed)
    this.#acceptor = new Acceptor(reactor, socket, this)
    this.#open = true
    this.hold(true)
  }

  /** Somebody else accepts, and gives what comes to {@link take}. */
  listenElsewhere(): void {
    this.#join()
    this.#open = true
  }

  take(fd: number, handleClass: HandleClass): void {
    this.#handleClass = handleClass
    this.welcome(fd)
  }

  stopListening(): void {
    this.#open = false
    this.#acceptor?.close()
    this.#acceptor = undefined
    this.hold(false)
    this.#leave()
  }

  /** Whether the listening socket holds the process open. */
  hold(listening: boolean): void {
    if (listening === this.#listening) return
    this.#listening = listening
    if (listening) this.#reactor?.ref()
    else this.#reactor?.unref()
  }

  #join(): Reactor {
    if (this.#reactor === undefined) {
      this.#reactor = reactor()
      this.#owner = this.#reactor.register(this)
      this.#stopTrimming = onTrim(() => this.#trim())
    }
    return this.#reactor
  }

  /** Once the server is closed and nobody is asleep, nothing refers to it any more. */
  #leave(): void {
    if (this.#open || this.#parked > 0 || this.#reactor === undefined) return
    this.#reactor.unregister(this.#owner)
    this.#reactor = undefined
    this.#stopTrimming?.()
  }

  #trim(): void {
    this.#table.trim()
    this.#wheel.trim(this.#table.end)
    this.#protocol.trim()
  }

  // What the acceptor and the reactor ask and tell.

  get clients(): number {
    return this.#table.size
  }

  get accepted(): number {
    return this.#accepted
  }

  /** Takes a connection that was accepted: 0, or the errno when it could not be watched, and was closed. */
  welcome(fd: number): number {
    if (isFull(this.#server)) {
      this.#drop(fd)
      return 0
    }
    if (this.#server.blockList !== undefined && this.#isBlocked(fd)) {
      this.#dropped++
      this.#reactor?.discard(fd)
      return 0
    }
    if (this.#options.first === 'server') {
      this.#makeSocket(this.#enroll(), fd, true)
      return 0
    }
    const failed = this.#watch(fd)
    if (failed === 0) this.#parkIn(this.#enroll(), fd, this.#protocol.freshLimit())
    return failed
  }

  /** 0, or the errno, and the descriptor is closed. */
  #watch(fd: number): number {
    const reactor = this.#reactor as Reactor
    const failed = reactor.add(fd, WATCHED, this.#owner)
    if (failed !== 0) reactor.discard(fd)
    return failed
  }

  #enroll(): number {
    this.#server._connections++
    this.#accepted++
    return this.#table.take()
  }

  /** One more than `maxConnections`: closed, and said, as Node does. */
  #drop(fd: number): void {
    this.#dropped++
    try {
      if (this.#server.listenerCount('drop') > 0) this.#server.emit('drop', ...endsOf(fd))
    } finally {
      // A listener that throws must not keep it.
      this.#reactor?.discard(fd)
    }
  }

  #isBlocked(fd: number): boolean {
    const peer = peerAddress(fd)
    if (peer === undefined || 'path' in peer) return false
    return this.#server.blockList?.check(peer.address, peer.family === 'IPv6' ? 'ipv6' : 'ipv4') ?? false
  }

  report(error: SystemError): void {
    process.emitWarning(error.message, { code: error.code })
  }

  broken(error: SystemError): void {
    this.#server.close()
    this.#server.emit('error', error)
  }

  ready(fd: number, events: number): void {
    if (fd === this.#acceptor?.fd) this.#acceptor.ready()
    else this.#heard(this.#table.row(fd), fd, events)
  }

  /** Something has come for a parked connection. */
  #heard(row: number, fd: number, events: number): void {
    if (this.#isStream(row)) {
      this.#drain(row, fd)
      return
    }
    if ((events & ~libc.EPOLLIN) === 0) {
      if (!this.#isNothing(row, fd)) this.#wake(row, true)
      return
    }
    // Over, or broken; what was sent before that comes first.
    const length = receive(fd, 1, libc.MSG_PEEK)
    if (length > 0 || (length === 0 && this.#seesEnd(row))) this.#wake(row, true)
    else if (length === 0) this.#close(row, 'peer')
    else if (libc.errno() !== libc.E.EAGAIN) this.#close(row, 'reset')
    // EAGAIN with a hang-up or an error: SO_ERROR alone tells.
    else if ((events & (libc.EPOLLERR | libc.EPOLLHUP)) !== 0) {
      this.#close(row, takeError(fd) === 0 ? 'peer' : 'reset')
    }
  }

  /** Bytes that mean nothing do not wake: taken off, and the connection's time goes on. */
  #isNothing(row: number, fd: number): boolean {
    if (!this.#isHttp || (this.#table.flags(row) & FRESH) !== 0) return false
    const length = receive(fd, PEEKED, libc.MSG_PEEK)
    if (length <= 0 || !this.#protocol.isNothing(received(length))) return false
    receive(fd, length, 0)
    return true
  }

  #seesEnd(row: number): boolean {
    return this.#protocol.seesEnd && (this.#table.flags(row) & ENDED) === 0
  }

  /** A stream goes one way: what its reader sends is dropped, until its FIN. */
  #drain(row: number, fd: number): void {
    const length = receive(fd, SCRATCH, 0)
    if (length === 0) this.#close(row, 'peer')
    else if (length === -1 && libc.errno() !== libc.E.EAGAIN) this.#close(row, 'reset')
  }

  // From asleep to awake.

  /** Makes the socket of a parked connection, and hands it to the server if `announced`. Undefined: the connection broke meanwhile. */
  #wake(row: number, announced: boolean): Connection | undefined {
    const fd = this.#table.fd(row)
    this.#reactor?.remove(fd)
    this.#wheel.remove(row)
    this.#counted(-1)
    return this.#makeSocket(row, fd, announced)
  }

  #makeSocket(row: number, fd: number, announced: boolean): Connection | undefined {
    const wakes = this.#table.wake(row)
    const connection = new Connection(this, this.#table.id(row), wakes)
    connection.requests = this.#requests.get(row) ?? 0
    this.#awake.set(row, connection)
    let socket: Socket
    try {
      const handle = handleFrom(this.#reactor as Reactor, this.#handleClass as HandleClass, fd)
      socket = socketFor(this.#server, handle, (this.#table.flags(row) & ENDED) === 0)
    } catch {
      // Node could not tell what the descriptor is, or has none left: the connection is broken.
      this.#server._connections--
      this.#gone(row, connection, 'reset')
      this.#server._emitCloseIfDrained()
      return undefined
    }
    this.#woken++
    this.#enter(row, connection, socket)
    this.#table.setFlags(row, this.#table.flags(row) & ~FRESH)
    if (announced) {
      this.#server.emit('connection', socket, connection)
      this.#protocol.announced(socket, connection)
    }
    return connection
  }

  /** A connection that Node accepted, where nothing can be parked. */
  adopt(socket: Socket): void {
    const row = this.#table.take()
    this.#accepted++
    this.#woken++
    const connection = new Connection(this, this.#table.id(row), this.#table.wake(row))
    this.#awake.set(row, connection)
    this.#enter(row, connection, socket)
  }

  #enter(row: number, connection: Connection, socket: Socket): void {
    setConnection(socket, connection)
    connection.socket = socket
    socket.on('close', this.#onClose)
    this.#options.governor?.joined()
    if (this.#protocol.parksAgain && this.#open) this.#lookIn(row, this.#options.idle as number)
  }

  #lookIn(row: number, idle: number): void {
    this.#wheel.add(row, idle / 2)
  }

  // From awake to asleep.

  #due(row: number): void {
    const connection = this.#awake.get(row)
    if (connection === undefined) this.#expired(row)
    else this.#look(row, connection)
  }

  /** Parks an awake connection that has been silent for as long as `idle`; else looks again after half of that. */
  #look(row: number, connection: Connection): void {
    const idle = this.#options.idle ?? STREAM_IDLE
    const socket = connection.socket as Socket
    const bytes = socket.bytesRead + socket.bytesWritten
    const now = performance.now()
    if (bytes !== connection.seen) {
      connection.seen = bytes
      connection.since = now
    } else if (now - connection.since >= idle && this.#sleep(row, connection)) return
    else if (connection.wakes > 1 && this.#protocol.isLate(socket, now - connection.since)) socket.emit('timeout')
    if (this.#open && (this.#isStream(row) || !this.#protocol.isTaken(socket))) this.#lookIn(row, idle)
  }

  #mayPark(row: number, connection: Connection): boolean {
    const socket = connection.socket as Socket
    if (connection.keepAwake || !this.#open) return false
    return this.#isStream(row) ? connection.ready && isQuiet(socket) : this.#protocol.mayPark(socket)
  }

  #isStream(row: number): boolean {
    return (this.#table.flags(row) & STREAM) !== 0
  }

  /** @param untouched nothing has come since it was woken: whatever its protocol thinks, it is where it was */
  #sleep(row: number, connection: Connection, untouched = false): boolean {
    const may = untouched
      ? this.#open && connection.socket !== undefined && isQuiet(connection.socket)
      : this.#mayPark(row, connection)
    if (!may) return false
    const socket = connection.socket as Socket
    const current = descriptorOf(socket)
    // Bytes, or the end, that its socket has not read yet: it is not silent.
    if (receive(current, 1, libc.MSG_PEEK) !== -1) return false
    const fd = (this.#reactor as Reactor).duplicate(current)
    // EMFILE: it stays awake until there is room. EBADF: it has none of its own.
    if (fd < 0 || this.#watch(fd) !== 0) return false
    if (connection.requests > 0) this.#requests.set(row, connection.requests)
    const silent = connection.seen === -1 ? 0 : performance.now() - connection.since
    // Else a give-back while all sleep would have V8 forget, and learn again, all that it knows of sockets.
    this.#specimen ??= specimenOf(socket)
    socket.removeListener('close', this.#onClose)
    connection.socket = undefined
    this.#awake.delete(row)
    const stream = this.#isStream(row)
    const limit = stream ? 0 : this.#protocol.limit(socket)
    this.#parkIn(row, fd, limit === 0 ? 0 : Math.max(1, limit - silent))
    this.#parkedAgain++
    endQuietly(socket)
    // The socket takes itself off the server's count.
    this.#server._connections++
    socket.destroy()
    forwardLate(socket, this.#isHttp)
    this.#options.governor?.left()
    return true
  }

  #parkIn(row: number, fd: number, limit: number): void {
    this.#table.park(row, fd)
    this.#counted(1)
    if (limit > 0) this.#wheel.add(row, limit)
    else this.#wheel.remove(row)
  }

  /** One more, or one fewer, is asleep. */
  #counted(by: 1 | -1): void {
    this.#parked += by
    if (this.#holding === this.#parked > 0) return
    this.#holding = !this.#holding
    if (this.#holding) this.#reactor?.ref()
    else this.#reactor?.unref()
  }

  // The end.

  /** A parked connection has reached its limit. */
  #expired(row: number): void {
    const { farewell, wake } = this.#protocol.expire((this.#table.flags(row) & FRESH) !== 0)
    if (wake !== undefined) {
      const connection = this.#wake(row, wake.announced)
      if (connection?.socket === undefined) return
      wake.timedOut(connection.socket)
      // The application lets it be: for `http` it would be in the middle of a request from now on.
      if (connection.socket?.bytesRead === 0) this.#sleep(row, connection, true)
      return
    }
    // As much as the kernel takes: a connection that is idle takes all of it.
    if (farewell !== undefined) libc.sendBuffer(this.#table.fd(row), farewell, farewell.length, libc.MSG_NOSIGNAL)
    this.#close(row, 'timeout')
  }

  /** Closes a parked connection. */
  #close(row: number, cause: Cause): void {
    ;(this.#reactor as Reactor).close(this.#table.fd(row))
    this.#wheel.remove(row)
    this.#counted(-1)
    this.#server._connections--
    try {
      if (this.#table.wakes(row) === 0) this.#forget(row, cause)
      else this.#gone(row, new Connection(this, this.#table.id(row), this.#table.wakes(row)), cause)
    } finally {
      this.#server._emitCloseIfDrained()
      this.#leave()
    }
  }

  /** The application knows this connection. */
  #gone(row: number, connection: Connection, cause: Cause): void {
    connection.last = this.#attachments.get(row)
    connection.socket = undefined
    this.#forget(row, cause)
    this.#server.emit('disconnect', connection, cause)
  }

  #forget(row: number, cause: Cause): void {
    this.#attachments.delete(row)
    this.#requests.delete(row)
    this.#awake.delete(row)
    this.#table.drop(row)
    this.#closed[cause]++
    if (this.#acceptor?.accepting === false) this.#acceptor.resume()
  }

  /** An awake connection's socket is closed, and its descriptor with it. One function for all of them. */
  readonly #onClose = closeListener(this)

  /** @internal */
  socketClosed(connection: Connection): void {
    const row = this.#table.find(connection.id)
    if (row === -1 || this.#awake.get(row) !== connection) return
    this.#wheel.remove(row)
    this.#options.governor?.left()
    this.#gone(row, connection, 'socket')
  }

  closeAwake(): void {
    for (const { socket } of this.#awake.values()) socket?.destroy()
  }

  closeParked(): void {
    this.#closeWithout(0)
  }

  /** Closes parked connections that `http` calls idle. */
  closeIdle(): void {
    this.#closeWithout(this.#protocol.freshAreIdle() ? STREAM : STREAM | FRESH)
  }

  /** Closes parked connections that have none of these flags. */
  #closeWithout(flags: number): void {
    for (let row = 0; row < this.#table.end; row++) {
      if (this.#table.id(row) === 0 || this.#table.fd(row) === -1) continue
      if ((this.#table.flags(row) & flags) === 0) this.#close(row, 'server')
    }
  }

  // What a Connection and the application ask.

  connection(socket: Socket): Connection | undefined {
    const connection = connectionOf(socket)
    return connection?.isOf(this) ? connection : undefined
  }

  has(id: number): boolean {
    return this.#table.find(id) !== -1
  }

  isParked(id: number): boolean {
    const row = this.#table.find(id)
    return row !== -1 && this.#table.fd(row) !== -1
  }

  park(connection: Connection): boolean {
    const row = this.#table.find(connection.id)
    if (row === -1) return false
    const awake = this.#awake.get(row)
    if (awake === undefined) return true
    const parked = this.#sleep(row, awake)
    this.#protocol.asked()
    return parked
  }

  close(id: number, reset = false): boolean {
    const row = this.#table.find(id)
    if (row === -1) return false
    const fd = this.#table.fd(row)
    if (fd === -1) {
      this.#awake.get(row)?.socket?.destroy()
      return true
    }
    // A linger of no time: a RST in place of a FIN.
    if (reset) setOption(fd, libc.SOL_SOCKET, libc.SO_LINGER, 1, 0)
    this.#close(row, 'server')
    return true
  }

  attachment({ id, last }: Connection): unknown {
    const row = this.#table.find(id)
    return restored(row === -1 ? last : this.#attachments.get(row))
  }

  attach({ id }: Connection, value: unknown): void {
    const row = this.#table.find(id)
    if (row === -1) {
      throw Object.assign(new Error('the connection is gone: nothing can be attached to it'), {
        code: 'ERR_EBB_CONNECTION_CLOSED'
      })
    }
    this.#attachments.set(row, value)
  }

  send(id: number, data: string | Uint8Array): boolean {
    const row = this.#table.find(id)
    if (row === -1 || !this.#protocol.isPlain) return false
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    const fd = this.#table.fd(row)
    if (fd === -1) return this.#sendAwake(row, bytes)
    if (bytes.length === 0) return true
    return this.#sent(row, bytes, sendNow(fd, bytes))
  }

  #sendAwake(row: number, bytes: Uint8Array): boolean {
    const socket = this.#awake.get(row)?.socket
    if (socket === undefined || !socket.writable) return false
    socket.write(bytes)
    return true
  }

  /** What the kernel took of `bytes` for a parked connection: the rest wakes it, and goes before all that it then writes. */
  #sent(row: number, bytes: Uint8Array, sent: number): boolean {
    if (sent === bytes.length) return true
    // Broken: epoll reports it, which closes it.
    if (sent === -1) return false
    const announced = !this.#isStream(row)
    const connection = this.#wake(row, false)
    const socket = connection?.socket
    if (connection === undefined || socket === undefined) return false
    // A copy: the caller may use its buffer again.
    socket.write(Buffer.from(bytes.subarray(sent)))
    if (announced) process.nextTick(() => this.#server.emit('connection', socket, connection))
    else this.#readNothing(row, socket)
    return true
  }

  /** A stream that is awake because its reader is slow. */
  #readNothing(row: number, socket: Socket): void {
    socket.on('error', () => {})
    socket.on('end', () => socket.destroy())
    socket.resume()
    this.#lookIn(row, this.#options.idle ?? STREAM_IDLE)
  }

  queued(id: number): number {
    const row = this.#table.find(id)
    return (row === -1 ? undefined : this.#awake.get(row)?.socket?.writableLength) ?? 0
  }

  broadcast(data: string | Uint8Array, filter?: (id: number) => boolean): Promise<number> {
    // A copy, since it is sent later; outside of the heap, so that it stays where it is.
    const length = typeof data === 'string' ? Buffer.byteLength(data) : data.length
    const bytes = Buffer.allocUnsafeSlow(length)
    if (typeof data === 'string') bytes.write(data)
    else bytes.set(data)
    const done = this.#broadcast.then(() => this.#sendAll(bytes, filter))
    this.#broadcast = done.catch(() => {})
    return done
  }

  async #sendAll(bytes: Buffer, filter: ((id: number) => boolean) | undefined): Promise<number> {
    if (!this.#protocol.isPlain) return 0
    const only = this.#isHttp ? STREAM : 0
    const address = bytes.length === 0 ? 0 : libc.addressOf(bytes)
    let count = 0
    let left = BETWEEN_LOOKS
    let start = performance.now()
    for (let row = 0; row < this.#table.end; row++) {
      const id = this.#table.id(row)
      if (id === 0 || (only !== 0 && (this.#table.flags(row) & only) === 0)) continue
      if (left-- === 0) {
        left = BETWEEN_LOOKS
        if (performance.now() - start > TURN) {
          await new Promise((resolve) => setImmediate(resolve))
          start = performance.now()
          if (this.#table.id(row) !== id) continue
        }
      }
      // A filter may close the very connection that it is asked about.
      if (filter !== undefined && (!filter(id) || this.#table.id(row) !== id)) continue
      if (this.#sendOne(row, bytes, address)) count++
    }
    return count
  }

  #sendOne(row: number, bytes: Buffer, address: number): boolean {
    const fd = this.#table.fd(row)
    return fd === -1 ? this.#sendAwake(row, bytes) : this.#sent(row, bytes, sendFrom(fd, address, bytes.length))
  }

  /** A FIN for a parked connection, from a socket that is no more its own. */
  end(id: number): void {
    const row = this.#table.find(id)
    if (row === -1) return
    const fd = this.#table.fd(row)
    if (fd === -1) {
      this.#awake.get(row)?.socket?.end()
      return
    }
    this.#table.setFlags(row, this.#table.flags(row) | ENDED)
    libc.shutdown(fd, libc.SHUT_WR)
  }

  stream(response: ServerResponse): Connection {
    const { socket } = response
    const connection = socket ? this.connection(socket) : undefined
    const row = connection === undefined ? -1 : this.#table.find(connection.id)
    if (!this.#isHttp || !socket || connection === undefined || row === -1 || response.writableEnded) {
      throw invalidArgument('stream() takes a response of this HTTP server whose turn it is, and that is not ended')
    }
    if (!sendEndlessHead(response)) {
      throw Object.assign(new Error('stream() sends the headers itself, without a Content-Length, and they are sent'), {
        code: 'ERR_HTTP_HEADERS_SENT'
      })
    }
    if (response.req.method === 'HEAD') {
      response.end()
      return connection
    }
    // A broadcast reaches it from now on; it is parked when `http` is through with it.
    this.#table.setFlags(row, this.#table.flags(row) | STREAM)
    connection.ready = false
    endAsLast(response, socket, () => this.#becomeStream(connection))
    return connection
  }

  #becomeStream(connection: Connection): void {
    const row = this.#table.find(connection.id)
    if (row === -1 || connection.socket === undefined) return
    connection.ready = true
    // Node's limits are for requests.
    connection.socket.setTimeout(0)
    if (!this.#sleep(row, connection) && this.#open) this.#lookIn(row, this.#options.idle ?? STREAM_IDLE)
  }

  stats(): ParkStats {
    const { size } = this.#table
    const kept = this.#table.bytes + this.#wheel.bytes + this.#attachments.bytes + REACTOR_BYTES * this.#parked
    return {
      parked: this.#parked,
      awake: this.#awake.size,
      accepted: this.#accepted,
      dropped: this.#dropped,
      woken: this.#woken,
      parkedAgain: this.#parkedAgain,
      closed: { ...this.#closed },
      bytesPerConnection: size === 0 ? 0 : kept / size
    }
  }
}

/** What a socket is made of, to be kept; not what the application has attached to it. */
function specimenOf(socket: Socket): unknown[] {
  const parts = partsOf(socket)
  socket.once('close', () => setImmediate(() => socket.removeAllListeners()))
  return parts
}

/** A listener that finds its connection in the socket: no function for each. */
function closeListener(parking: Parking): (this: Socket) => void {
  return function () {
    const connection = connectionOf(this)
    if (connection !== undefined) parking.socketClosed(connection)
  }
}

/** Both ends of a connection, as `net.Server` tells them; nothing for a Unix socket. */
function endsOf(fd: number): object[] {
  const local = localAddress(fd)
  if ('path' in local) return []
  const remote = peerAddress(fd)
  return [
    {
      localAddress: local.address,
      localPort: local.port,
      localFamily: local.family,
      ...(remote !== undefined &&
        !('path' in remote) && {
          remoteAddress: remote.address,
          remotePort: remote.port,
          remoteFamily: remote.family
        })
    }
  ]
}
