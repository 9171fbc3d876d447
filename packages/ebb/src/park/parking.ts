/**
 * The connections of a parked server, and the states of a connection.
 *
 *     accepted -> parked     the client sends the first byte (`first: 'client'`)
 *     accepted -> awake      the server sends the first byte (`first: 'server'`)
 *     parked   -> awake      a byte arrives, a timeout has a listener, or the send buffer is full
 *     awake    -> parking    the connection was idle, or `park()` was called
 *     parking  -> parked     within the same call
 *     any state -> closed    either side closes, an error, or a timeout
 *
 * | state    | what exists of the connection                         | owner of the descriptor                  |
 * |----------|-------------------------------------------------------|------------------------------------------|
 * | accepted | a descriptor, during `onAccept()`                     | `Parking`; `AcceptGate` if it is refused |
 * | parked   | a row in the table, and a registration at the reactor | `Parking`                                |
 * | awake    | a row, a `net.Socket` and a `ConnectionHandle`        | the socket                               |
 * | parking  | a row, a socket, and a duplicate of its descriptor    | the socket; `Parking` owns the duplicate |
 * | closed   | nothing: the row is free                              | nobody: the descriptor is closed         |
 *
 * To wake a connection, its descriptor is removed from epoll and given to a new socket. To park it, its descriptor is
 * duplicated, the duplicate is watched, and the socket is destroyed. Closing the socket's descriptor sends no FIN,
 * because the connection still has the duplicate.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Burst } from '../govern/burst.js'
import type { Governor } from '../govern/connection-governor.js'
import { type Retained, retainSocket } from '../memory/hidden-classes.js'
import { type AcceptHost, Acceptor } from '../socket/acceptor.js'
import type { ListeningSocket } from '../socket/listening-socket.js'
import type { ConnectionKeeper } from '../socket/moved.js'
import { mayBeProxyHeader } from '../socket/proxy-header.js'
import {
  type ProxyFailure,
  type ProxyProtocol,
  type ProxyProtocolOptions,
  proxyProtocolOf
} from '../socket/proxy-protocol.js'
import { toBytes } from '../sys/arguments.js'
import { type Audited, announceCreated } from '../sys/audit.js'
import { E, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLRDHUP } from '../sys/constants.js'
import { type SystemError, warn } from '../sys/errors.js'
import { batchAfter, batchSoon } from '../sys/node/callback-scope.js'
import { BYTES_PER_DESCRIPTOR, reactor, type Watcher } from '../sys/reactor.js'
import type { Served, ServerReport } from '../sys/served.js'
import { formatAddress } from '../sys/sockaddr.js'
import { peerAddress, resetOnClose, takeError } from '../sys/socket.js'
import { peek, peeked, receiveAndDrop } from '../sys/transfer.js'
import { AcceptGate } from './accept-gate.js'
import { type AccessHost, ConnectionAccess } from './access.js'
import { auditConnections } from './audit.js'
import { Broadcaster } from './broadcast.js'
import { PARK, publish, WAKE } from './channels.js'
import { type Connection, ConnectionHandle, setConnection } from './connection.js'
import { forwardDetached } from './detached-socket.js'
import { Moving, type MovingHost } from './moving.js'
import {
  type HandleClass,
  type HandleOwner,
  handleClassOf,
  type ListeningHandle,
  type OnConnection,
  replacedOnConnection,
  tellAddresses
} from './node/handle.js'
import {
  countConnection,
  emitCloseIfDrained,
  isDrained,
  type ServerInternals,
  uncountConnection,
  withConnectionOf
} from './node/server.js'
import {
  clientHandle,
  descriptorOf,
  endQuietly,
  exampleOptions,
  handleClassOfDescriptor,
  handleClassOfSocket,
  isQuiet,
  isTaken,
  observeHandle,
  socketFor
} from './node/socket.js'
import { protocolOf } from './protocol/detect.js'
import { closesSilent, isHttp, protocolName } from './protocol/kind.js'
import type { Protocol } from './protocol/protocol.js'
import { Registration } from './registration.js'
import { Sender, type SenderHost } from './sender.js'
import { Settings } from './settings.js'
import { Connections } from './state/connections.js'
import { ENDED, FRESH, PROXIED, STREAM, WRAPPED } from './state/table.js'
import type { Cause, ParkStats } from './stats.js'
import { notStreamable, type StreamHost, Streams } from './streams.js'
import { type TimerHost, Timers } from './timers.js'
import { type UpgradedProtocol, type UpgradeHost, Upgrades } from './upgrades.js'

/** Options of `park()` in their final form. */
export interface ParkingOptions {
  /** Time without a byte, in ms, after which an awake connection is parked again; undefined: never. */
  idle: number | undefined
  /** Which side sends the first byte. */
  first: 'client' | 'server'
  /** Names of socket properties that survive sleep. */
  carry?: readonly (string | symbol)[] | undefined
  /** Maximum number of bytes that wait for a slow peer. */
  maxQueued?: number | undefined
  /** What happens to bytes above `maxQueued`. */
  overflow?: 'close' | 'drop' | undefined
  /** Whether connections begin with a header of the PROXY protocol. */
  proxyProtocol?: boolean | ProxyProtocolOptions | undefined
  /**
   * Time, in ms, after which a connection that has not sent a byte is closed; 0: never; undefined: after the timeout
   * that listeners of `connection` set.
   */
  firstByteTimeout: number | undefined
  /** Maximum size of a serialised attachment, in bytes. */
  attachmentLimit: number
  /** Releases memory when many connections were parked or closed. */
  governor: Governor | undefined
}

/** Maximum number of bytes that are passed to {@link Protocol.isIgnorable}. */
const PEEK_LENGTH = 16
/** How often a connection that times out is looked at, if its peer goes on sending bytes that are dropped. */
const MOST_LOOKS = 64
/** Events that a parked connection is watched for: bytes, and the peer's FIN. */
const PARKED_EVENTS = EPOLLIN | EPOLLRDHUP
/**
 * When an HTTP server is closed, a connection that is younger than this (ms) still gets this time for its first byte.
 * A client sends its request right after it has connected.
 */
const FIRST_REQUEST = 100

/** The connections of one server. See the top of this file for their states. */
export class Parking
  implements
    Watcher,
    Audited,
    Served,
    AcceptHost,
    AccessHost,
    HandleOwner,
    MovingHost,
    SenderHost,
    StreamHost,
    TimerHost,
    UpgradeHost
{
  /** Carries out what the application does with connections. */
  readonly access: ConnectionAccess
  /** Connections that speak another protocol than the server. */
  readonly upgrades: Upgrades
  /** Moves connections to another process, and takes those of one. */
  readonly moving: Moving

  readonly #server: ServerInternals
  readonly #protocol: Protocol
  readonly #isHttp: boolean
  readonly #options: ParkingOptions
  readonly #connections: Connections
  readonly #registration: Registration
  readonly #timers: Timers
  readonly #settings: Settings
  readonly #gate: AcceptGate
  readonly #streams: Streams
  readonly #broadcaster: Broadcaster
  readonly #proxy: ProxyProtocol | undefined

  readonly #closed: Record<Cause, number> = { peer: 0, reset: 0, timeout: 0, server: 0, socket: 0, proxy: 0, slow: 0 }
  #accepted = 0
  #woken = 0
  #parkedAgain = 0

  #acceptor: Acceptor | undefined
  /** Whether accepted connections are the last ones of the accept queue, and the server is about to close. */
  #draining = false
  /** Whether the server is closed, and its idle connections with it. */
  #closesIdle = false
  /** Whether a `close()` of the server leaves idle connections open: see `shutdown.ts`. */
  keepsIdle = false
  /** Returns the function that the application has set in place of Node's `onconnection`. */
  #replaced: () => OnConnection | undefined = () => undefined
  /**
   * Path of a Unix socket that this server has bound itself, or that came from another process. Its file is removed
   * when the server is closed; for other paths, libuv removes it.
   */
  socketPath: string | undefined
  #keeper: ConnectionKeeper | undefined
  /** Node's class of handles for this server's connections: TCP or Unix. */
  #handleClass: HandleClass | undefined
  /** What keeps the hidden classes alive that each wake needs: parts of the first socket that was parked, and more. */
  #retained: Retained | undefined

  constructor(server: ServerInternals, options: ParkingOptions) {
    this.#server = server
    this.#options = options
    this.#protocol = protocolOf(server, options.idle !== undefined)
    this.#isHttp = isHttp(server)
    this.#connections = new Connections(options.attachmentLimit, options.carry)
    this.#registration = new Registration(this, () => this.#trim())
    this.#timers = new Timers(this.#connections, this.#protocol, this.#registration, options, this)
    this.#settings = new Settings(server, this.#connections, this.#protocol, this.#registration, this.#timers)
    this.upgrades = new Upgrades(this.#connections, this.#registration, this.#timers, new Burst(options.governor), this)
    this.#gate = new AcceptGate(server, this.#connections.scopes)
    const { maxQueued, overflow = 'close' } = options
    const sender = new Sender(this.#connections, { maxQueued, overflow }, this)
    this.access = new ConnectionAccess(this.#connections, this.#protocol, sender, this.#settings, this)
    this.#streams = new Streams(this.#connections, this)
    this.#proxy = proxyProtocolOf(options.proxyProtocol, (fd, error) => this.#onProxyFailure(fd, error))
    this.moving = new Moving(this.#connections, this.#registration, this.#timers, this)
    this.moving.onlyStreams = this.#isHttp
    this.#broadcaster = new Broadcaster(
      this.#connections,
      sender,
      this.#isHttp ? STREAM : 0,
      () => this.access.elsewhere
    )
    announceCreated(this)
  }

  // Listening.

  /**
   * Takes ownership of `socket` and starts to accept from it.
   *
   * @throws {SystemError} of `epoll_ctl`; the caller still owns the socket
   */
  listen(socket: ListeningSocket, handle: ListeningHandle): void {
    this.#handleClass = handleClassOf(handle)
    this.#replaced = replacedOnConnection(handle)
    try {
      this.#acceptor = new Acceptor(this.#registration.join(), socket, this)
    } catch (error) {
      this.#registration.leaveIfEmpty()
      throw error
    }
    this.#onListening()
    this.#registration.keepRunning(true)
  }

  /** Starts to take connections that a handle of Node accepts. The caller passes each to {@link takeConnection}. */
  listenThroughNode(): void {
    this.#registration.join()
    this.#onListening()
  }

  /** Takes ownership of a connection that a handle of Node accepted. */
  takeConnection(fd: number, handleClass: HandleClass): void {
    this.#handleClass = handleClass
    this.onAccept(fd)
  }

  #onListening(): void {
    this.#closesIdle = false
    this.#registration.onListening()
    this.#connections.scopes.onListening()
  }

  /**
   * Takes the connections of the accept queue, after which the server must close.
   *
   * @returns how many it took, including those that were dropped
   */
  drain(): number {
    this.#draining = true
    try {
      return this.#acceptor?.drain() ?? 0
    } finally {
      this.#draining = false
    }
  }

  /**
   * Closes the listening socket. Open connections stay, but HTTP connections that have not sent a byte are closed.
   *
   * If other sockets share the port (a cluster), connections in the accept queue are taken first. The kernel chose this
   * socket for them, so no other process would serve them.
   */
  stopListening(closing: boolean): void {
    if (closing && this.#acceptor?.sharesPort) this.drain()
    this.#keeper?.stopped()
    this.#acceptor?.close()
    this.#acceptor = undefined
    if (closing && !this.keepsIdle) this.#closeSilent()
    this.#registration.onStopped()
  }

  /** Descriptor of the listening socket that this server accepts from by itself; -1: there is none. */
  get listeningDescriptor(): number {
    return this.#acceptor?.fd ?? -1
  }

  /**
   * Leaves the listening socket to another process. The server still looks open to the application. When it is closed,
   * the handle closes its descriptor, and the socket stays open.
   */
  surrenderListening(): void {
    this.#acceptor?.surrender()
    this.#acceptor = undefined
  }

  /** Closes the parked connections that `http` calls idle. */
  closeIdle(): void {
    this.access.closeIdle()
    if (!this.#protocol.closesFreshAsIdle()) return
    // Node's close() begins with this, and then connections that are new are treated in a way of their own.
    process.nextTick(() => {
      if (!this.#closesIdle) this.access.closeSilent(0)
    })
  }

  #closeSilent(): void {
    this.#closesIdle = true
    if (!closesSilent(this.#server)) return
    const young = this.access.closeSilent(FIRST_REQUEST)
    if (young.length === 0) return
    const closeYoung = (): void => {
      // If the server listens again, Node 20 keeps them.
      if (this.#closesIdle || this.#protocol.closesFreshAsIdle()) this.access.closeSilent(0, young)
    }
    batchAfter(FIRST_REQUEST, closeYoung)
  }

  /** Sets whether the listening socket keeps the process running. */
  keepRunning(on: boolean): void {
    this.#registration.keepRunning(on)
  }

  #trim(): void {
    this.#connections.trim()
    this.#timers.trim(this.#connections.table.end)
    this.#protocol.trim()
    this.upgrades.protocol?.trim(this.#connections.table.end)
  }

  // Accepted connections: called by the acceptor.

  get clients(): number {
    return this.#connections.table.size
  }

  onAccept(fd: number): number {
    if (!this.#gate.admits(fd, this.#registration.reactor)) return 0
    const replaced = this.#replaced()
    if (replaced !== undefined) {
      this.#connections.scopes.runForServer(this.#passOn, this, replaced, fd)
      return 0
    }
    const speaksFirst = this.#options.first === 'server' && !this.#proxy?.expectsFrom(fd)
    if (speaksFirst && !this.#draining) {
      const row = this.#addRow()
      this.#connections.callBack(row, this.#makeAnnounced, this, row, fd)
      return 0
    }
    const errno = this.#watch(fd)
    if (errno !== 0) return errno
    const row = this.#addRow()
    this.#setParked(row, fd, this.#timers.firstByteTimeout())
    if (speaksFirst) this.#wakeLater(this.#connections.table.id(row))
    else this.#timers.onFresh()
    return 0
  }

  /** Lets the application, and then Node, take an accepted connection. It is awake from the start. */
  #passOn(onconnection: OnConnection, fd: number): void {
    const handle = clientHandle(this.#registration.reactor, this.#handleClass as HandleClass, fd)
    const take = (socket: Socket): Connection => this.#connections.awake.get(this.adopt(socket)) as ConnectionHandle
    withConnectionOf(this.#server, take, () => onconnection(0, handle))
  }

  /** Wakes a connection after `close()` has returned, because no listener may run during it. */
  #wakeLater(id: number): void {
    batchSoon(() => {
      const row = this.#connections.table.find(id)
      if (row !== -1 && this.#connections.table.fd(row) !== -1) this.wake(row, true)
    })
  }

  addParked(fd: number): number {
    this.#handleClass ??= handleClassOfDescriptor(fd)
    const errno = this.#watch(fd)
    if (errno !== 0) return -errno
    const row = this.#addRow()
    this.#setParked(row, fd, 0)
    return row
  }

  addSocket(socket: Socket): number {
    this.#handleClass ??= handleClassOfSocket(socket)
    return this.adopt(socket)
  }

  sayGoodbye(row: number): void {
    this.upgrades.goAwayFrom(row)
  }

  upgradedProtocol(row: number): UpgradedProtocol | undefined {
    return this.#connections.isUpgraded(row) ? this.upgrades.protocol : undefined
  }

  onPause(error: SystemError): void {
    this.#connections.scopes.runForServer(() => process.emitWarning(error.message, { code: error.code }), undefined)
  }

  onFailure(error: SystemError): void {
    this.#connections.scopes.runForServer(() => {
      this.#server.close()
      this.#server.emit('error', error)
    }, undefined)
  }

  /** Watches a connection. @returns 0, or an errno after closing `fd` */
  #watch(fd: number): number {
    const reactor = this.#registration.reactor
    const errno = reactor.add(fd, PARKED_EVENTS, this.#registration.owner)
    if (errno !== 0) reactor.discard(fd)
    return errno
  }

  #addRow(): number {
    countConnection(this.#server)
    this.#accepted++
    const row = this.#connections.table.take()
    this.#settings.inherit(row)
    return row
  }

  // Parked connections: called by the reactor.

  ready(fd: number, events: number): void {
    const row = this.#connections.table.row(fd)
    const upgraded = this.upgradedProtocol(row)
    if (upgraded !== undefined) this.#onUpgradedReady(upgraded, row, fd, events)
    else if (this.#connections.isStream(row)) this.#streams.onReadable(row, fd)
    else if (this.#proxy !== undefined && this.#readProxyHeader(row, fd, this.#proxy)) return
    else if ((events & ~EPOLLIN) !== 0) this.#onEnd(row, fd, events)
    else if (this.#dropIgnorable(row, fd)) {
      if (this.#closesIdle) this.close(row, 'server')
    } else if (!this.#handshake(row, fd)) this.wake(row, true)
  }

  #onUpgradedReady(protocol: UpgradedProtocol, row: number, fd: number, events: number): void {
    const { table } = this.#connections
    const id = table.id(row)
    // Before anything is read: the keeper has only what is untouched.
    this.#keeper?.leaving(row)
    this.#connections.callBack(row, () => protocol.ready(row, fd, events), undefined)
    if (this.#keeper === undefined || table.id(row) !== id || table.fd(row) !== fd) return
    if (this.moving.canKeep(row)) this.#keeper.parked(row)
  }

  /**
   * Reads the header of a new connection. The bytes that follow it are reported in the next turn.
   *
   * @returns false if there is none to read
   */
  #readProxyHeader(row: number, fd: number, proxy: ProxyProtocol): boolean {
    if (!this.waitsForHeader(row)) return false
    const { table, proxied } = this.#connections
    const result = proxy.read(fd)
    if (result === 'more') return true
    if (result === 'end' || result === 'reset') this.close(row, result === 'end' ? 'peer' : 'reset')
    else if (result instanceof Error) this.#onProxyFailure(fd, result)
    else {
      table.setFlags(row, PROXIED)
      this.#keeper?.parked(row)
      if (result !== 'own') proxied.set(row, result)
      const client = proxied.client(row)
      if (client !== undefined && this.#gate.isBlocked(client)) this.close(row, 'server')
      else if (this.#options.first === 'server') this.wake(row, true)
      else this.#timers.set(row, this.#timers.firstByteTimeout())
    }
    return true
  }

  get listeners(): number {
    return this.#server.listenerCount('connection')
  }

  waitsForHeader(row: number): boolean {
    if (this.#proxy === undefined) return false
    const { table } = this.#connections
    return (table.flags(row) & (FRESH | PROXIED)) === FRESH && this.#proxy.expectsFrom(table.fd(row))
  }

  #onProxyFailure(fd: number, error: ProxyFailure): void {
    const peer = peerAddress(fd)
    this.close(this.#connections.table.row(fd), 'proxy')
    this.#connections.scopes.runForServer(() => this.#server.emit('proxyError', error, peer), undefined)
  }

  /** Lets the upgraded protocol look at the first bytes of a parked connection. @returns whether it took them */
  #handshake(row: number, fd: number): boolean {
    const { handshake } = this.upgrades
    if (handshake !== undefined) this.#keeper?.leaving(row)
    return handshake !== undefined && this.#connections.callBack(row, handshake, undefined, row, fd) === true
  }

  /** Handles a FIN, a hang-up or an error. If the peer had sent bytes first, the connection is woken to read them. */
  #onEnd(row: number, fd: number, events: number): void {
    if (this.upgrades.isHeld(row)) {
      this.close(row, 'reset')
      return
    }
    const length = peek(fd, 1)
    if (length > 0 || (length === 0 && this.#isWokenByFin(row))) this.wake(row, true)
    else if (length === 0) this.close(row, 'peer')
    else if (length !== -E.EAGAIN) this.close(row, 'reset')
    // Nothing to read: only SO_ERROR tells a hang-up from an error.
    else if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.close(row, takeError(fd) === 0 ? 'peer' : 'reset')
  }

  /**
   * Drops bytes that mean nothing in this protocol.
   *
   * @returns whether the bytes were dropped; then the connection stays parked, and its timeout is not extended
   */
  #dropIgnorable(row: number, fd: number): boolean {
    if (!this.#protocol.hasIgnorableBytes || (this.#connections.table.flags(row) & FRESH) !== 0) return false
    const length = peek(fd, PEEK_LENGTH)
    if (length <= 0 || !this.#protocol.isIgnorable(peeked(length))) return false
    receiveAndDrop(fd, length)
    return true
  }

  /** Whether the peer's FIN wakes the connection. Never after the server has sent its own FIN. */
  #isWokenByFin(row: number): boolean {
    return this.#protocol.seesFin && (this.#connections.table.flags(row) & ENDED) === 0
  }

  stillIdle(row: number): boolean {
    const { table } = this.#connections
    const fd = table.fd(row)
    const id = table.id(row)
    // Bytes without meaning are dropped, a few at a time, and then there may be others.
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const length = peek(fd, 1)
      if (length === -E.EAGAIN) return true
      this.ready(fd, length > 0 ? EPOLLIN : EPOLLRDHUP)
      if (table.id(row) !== id || table.fd(row) !== fd) return false
    }
    return true
  }

  // From parked to awake.

  /**
   * Makes the socket of a parked connection.
   *
   * @param announced whether to emit `connection`
   * @returns undefined if the connection is broken, or a listener closed it; then it is closed
   */
  wake(row: number, announced: boolean): ConnectionHandle | undefined {
    const fd = this.#connections.table.fd(row)
    // Before a byte is read: what is kept is untouched.
    this.#keeper?.leaving(row)
    if (this.#proxy !== undefined) this.#proxy.forget(fd)
    else if (this.#protocol.parksAgain) this.#lookForHeader(row, fd)
    this.#registration.reactor.remove(fd)
    this.#timers.remove(row)
    this.#registration.countParked(-1, this.#settings.keepsRunning(row))
    const { table, awake } = this.#connections
    const id = table.id(row)
    this.#connections.callBack(row, announced ? this.#makeAnnounced : this.#makeSocket, this, row, fd)
    this.#registration.leaveIfEmpty()
    return table.id(row) === id ? awake.get(row) : undefined
  }

  /**
   * Looks whether a new connection begins with a header of the PROXY protocol, which this server does not read. Then
   * the application does: a wrapper of `net.Server` expects a header from each socket. So the connection keeps its
   * first socket.
   */
  #lookForHeader(row: number, fd: number): void {
    const { table } = this.#connections
    if ((table.flags(row) & FRESH) === 0) return
    const length = peek(fd, PEEK_LENGTH)
    if (length <= 0 || !mayBeProxyHeader(peeked(length))) return
    table.setFlags(row, WRAPPED)
    if (length === PEEK_LENGTH) warnOfHeader()
  }

  #makeAnnounced(row: number, fd: number): void {
    const connection = this.#makeSocket(row, fd)
    if (connection?.socket === undefined) return
    const { socket } = connection
    try {
      this.#emitConnection(socket, connection)
    } finally {
      this.#protocol.onWake(socket, connection)
    }
  }

  #makeSocket(row: number, fd: number): ConnectionHandle | undefined {
    const { table, awake, requests } = this.#connections
    const wakes = table.wake(row)
    const connection = new ConnectionHandle(this.access, table.id(row), wakes)
    connection.requests = requests.get(row) ?? 0
    awake.set(row, connection)
    let socket: Socket
    try {
      const handle = clientHandle(this.#registration.reactor, this.#handleClass as HandleClass, fd)
      const { proxied } = this.#connections
      const [client, own] = [proxied.client(row), proxied.server(row)]
      if (client !== undefined && own !== undefined) tellAddresses(handle, client, own)
      socket = socketFor(this.#server, handle, (table.flags(row) & ENDED) === 0)
    } catch {
      // Node cannot open the descriptor, so the connection is lost.
      uncountConnection(this.#server)
      this.#tellClosed(row, 'reset', connection)
      this.#emitCloseIfDrained()
      return undefined
    }
    this.#woken++
    this.#connections.carried.restore(row, socket)
    this.#setSocket(row, connection, socket)
    this.#settings.apply(row, socket)
    table.setFlags(row, 0, FRESH)
    if (WAKE.hasSubscribers) publish(WAKE, { server: this.#server, id: connection.id, wakes })
    return connection
  }

  announce(row: number, socket: Socket, connection: ConnectionHandle): void {
    this.#connections.callBack(row, this.#emitConnection, this, socket, connection)
  }

  #emitConnection(socket: Socket, connection: ConnectionHandle): void {
    this.#server.emit('connection', socket, connection)
    this.#timers.learn(socket, connection)
  }

  restartTimeout(row: number): void {
    this.#timers.restart(row)
  }

  /** Takes a connection that Node accepted and counts. @returns its row */
  adopt(socket: Socket): number {
    const { table, awake } = this.#connections
    const row = table.take()
    this.#accepted++
    this.#woken++
    const connection = new ConnectionHandle(this.access, table.id(row), table.wake(row))
    awake.set(row, connection)
    this.#setSocket(row, connection, socket)
    if (WAKE.hasSubscribers) publish(WAKE, { server: this.#server, id: connection.id, wakes: connection.wakes })
    return row
  }

  /** Makes `socket` the socket of an awake connection. */
  #setSocket(row: number, connection: ConnectionHandle, socket: Socket): void {
    setConnection(socket, connection)
    connection.socket = socket
    observeHandle(socket, connection)
    this.#options.governor?.joined()
    if (this.#protocol.parksAgain || this.#connections.isUpgraded(row)) this.#timers.scheduleIdleCheck(row)
  }

  // From awake to parked.

  scheduleIdleCheck(row: number): void {
    this.#timers.scheduleIdleCheck(row)
  }

  /**
   * Parks an awake connection, unless something is in progress on it.
   *
   * @param leaving whether the kernel may hold bytes that nobody has read
   * @returns whether it is parked
   */
  park(row: number, connection: ConnectionHandle, leaving = false): boolean {
    const socket = connection.socket as Socket
    if (connection.keepAwake) return false
    return (
      this.#mayPark(row, connection, socket) &&
      this.#connections.callBack(row, leaving ? this.#parkLeaving : this.#parkSocket, this, row, connection) === true
    )
  }

  endBatch(): void {
    this.#protocol.endBatch()
  }

  #mayPark(row: number, { responseEnded }: ConnectionHandle, socket: Socket): boolean {
    const upgraded = this.upgradedProtocol(row)
    if (upgraded !== undefined) return upgraded.mayPark(row, socket)
    if (!this.#registration.open || this.isTaken(socket)) return false
    if ((this.#connections.table.flags(row) & WRAPPED) !== 0) return false
    return this.#connections.isStream(row) ? responseEnded && isQuiet(socket) : this.#protocol.mayPark(socket)
  }

  isTaken(socket: Socket): boolean {
    return isTaken(socket, this.#server)
  }

  parkUntouched(row: number, connection: ConnectionHandle): void {
    const { socket } = connection
    if (!this.#registration.open || socket === undefined || !isQuiet(socket) || this.isTaken(socket)) return
    this.#parkSocket(row, connection)
  }

  #parkLeaving(row: number, connection: ConnectionHandle): boolean {
    return this.#parkSocket(row, connection, true)
  }

  /** Parks a connection whose socket has nothing buffered. @returns false if the connection has to stay awake */
  #parkSocket(row: number, connection: ConnectionHandle, leaving = false): boolean {
    const socket = connection.socket as Socket
    const socketFd = descriptorOf(socket)
    const upgraded = this.upgradedProtocol(row)
    // The kernel holds bytes, or a FIN, that the socket has not read yet.
    if (!leaving && upgraded?.takesUnread(row) !== true && peek(socketFd, 1) >= 0) return false
    const fd = this.#registration.reactor.duplicate(socketFd)
    // EMFILE: stays awake until a descriptor is free. EBADF: the socket has no descriptor of its own (TLS).
    if (fd < 0 || this.#watch(fd) !== 0) return false
    if (connection.requests > 0) this.#connections.requests.set(row, connection.requests)
    const silent = connection.bytesSeen === -1 ? 0 : performance.now() - connection.quietSince
    observeHandle(socket, undefined)
    connection.socket = undefined
    this.#connections.awake.delete(row)
    const timeout = this.#settings.keep(row, socket, connection, silent)
    const isFresh = this.#protocol.parksSilent && connection.wakes === 1 && isSilent(socket)
    if (isFresh) this.#connections.table.setFlags(row, FRESH)
    this.#setParked(row, fd, isFresh && timeout === 0 ? this.#timers.freshTimeout(connection) : timeout)
    this.#parkedAgain++
    upgraded?.onParked(row, socket)
    // A stream, or a connection after an upgrade, never shows another socket to the application.
    if (upgraded === undefined && !this.#connections.isStream(row)) this.#connections.carried.keep(row, socket)
    // A socket that was used, because `http` gives it further properties then.
    const isRetained = this.#retained === undefined && upgraded === undefined && !isFresh
    if (isRetained) this.#retained = retainSocket(socket, exampleOptions(this.#server), ...this.#protocol.examples())
    endQuietly(socket)
    // Node subtracts a destroyed socket from the server's open connections, but this connection stays open.
    countConnection(this.#server)
    socket.destroy()
    forwardDetached(socket, upgraded !== undefined ? 'upgraded' : this.#isHttp ? 'http' : 'tcp', isRetained)
    this.#options.governor?.left()
    if (PARK.hasSubscribers) publish(PARK, { server: this.#server, id: connection.id })
    return true
  }

  /** @param timeout ms until the connection times out; 0: never */
  #setParked(row: number, fd: number, timeout: number): void {
    this.#connections.table.park(row, fd)
    this.#registration.countParked(1, this.#settings.keepsRunning(row))
    this.#timers.set(row, timeout)
    this.#keeper?.parked(row)
  }

  /** Sets who is told of parked connections; undefined: nobody keeps them. */
  set keeper(keeper: ConnectionKeeper | undefined) {
    this.#keeper = keeper
    this.#connections.onChange = keeper && ((row) => this.#connections.table.fd(row) !== -1 && keeper.parked(row))
    this.#connections.onLeaving = keeper && ((row) => keeper.leaving(row))
  }

  // Connections that move: called by `moving.ts`.

  get restingSilence(): number {
    return this.#isHttp ? 0 : (this.#options.idle ?? 0)
  }

  isUpgraded(row: number): boolean {
    return this.#connections.isUpgraded(row)
  }

  get readsHeaders(): boolean {
    return this.#proxy !== undefined
  }

  isInHeader(fd: number): boolean {
    return this.#proxy?.isPartial(fd) === true
  }

  watchEarly(fd: number): void {
    reactor().addUnowned(fd, PARKED_EVENTS)
  }

  restore(row: number, fd: number, left: number): number {
    this.#handleClass ??= handleClassOfDescriptor(fd)
    const { reactor, owner } = this.#registration
    const errno = reactor.isUnowned(fd) ? 0 : reactor.add(fd, PARKED_EVENTS, owner)
    if (errno !== 0) return errno
    reactor.assign(fd, owner)
    countConnection(this.#server)
    this.#accepted++
    this.#setParked(row, fd, left)
    return 0
  }

  forget(row: number): void {
    const fd = this.#connections.table.fd(row)
    this.#registration.reactor.retire(fd)
    this.#timers.remove(row)
    this.#registration.countParked(-1, this.#settings.keepsRunning(row))
    uncountConnection(this.#server)
    if (this.#connections.isUpgraded(row)) this.upgrades.onMoved(row)
    this.#connections.delete(row)
  }

  // Closing.

  /** Closes a parked connection. */
  close(row: number, cause: Cause): void {
    const { table } = this.#connections
    this.#keeper?.leaving(row)
    this.#proxy?.forget(table.fd(row))
    this.#registration.reactor.close(table.fd(row))
    this.#timers.remove(row)
    this.#registration.countParked(-1, this.#settings.keepsRunning(row))
    uncountConnection(this.#server)
    const wakes = table.wakes(row)
    if (wakes > 0 && this.#server.listenerCount('disconnect') > 0) {
      this.#tellClosed(row, cause, new ConnectionHandle(this.access, table.id(row), wakes))
    } else if (this.#connections.isUpgraded(row)) this.#connections.callBack(row, this.#forget, this, row, cause)
    else this.#forget(row, cause)
    this.#emitCloseIfDrained()
    this.#registration.leaveIfEmpty()
  }

  /** Forgets a closed connection that was awake at least once, and emits `disconnect`. */
  #tellClosed(row: number, cause: Cause, connection: ConnectionHandle): void {
    connection.lastAttachment = this.#connections.attachments.get(row)
    connection.socket = undefined
    const tell = (): void => {
      this.#forget(row, cause)
      this.#server.emit('disconnect', connection, cause)
    }
    this.#connections.callBack(row, tell, undefined)
  }

  #forget(row: number, cause: Cause): void {
    if (this.#connections.isUpgraded(row)) this.upgrades.onClosed(row, cause)
    else this.upgrades.forget(row)
    this.#connections.delete(row)
    this.#closed[cause]++
    if (this.#acceptor?.accepting === false) this.#acceptor.resume()
  }

  #emitCloseIfDrained(): void {
    if (isDrained(this.#server)) this.#connections.scopes.runForServer(emitCloseIfDrained, undefined, this.#server)
  }

  /** Called when the socket of an awake connection has closed, and its descriptor with it. */
  socketClosed(row: number, connection: ConnectionHandle): void {
    this.#timers.remove(row)
    this.#options.governor?.left()
    this.#tellClosed(row, connection.isSlow ? 'slow' : 'socket', connection)
    this.#registration.leaveIfEmpty()
  }

  /**
   * Ends the connections that `closeAllConnections()` leaves open, because they speak another protocol. Those whose
   * protocol is known here are told first: they close within its own time.
   */
  endUpgraded(): void {
    this.upgrades.goAway()
    for (const [row, { socket }] of [...this.#connections.awake]) {
      if (this.#connections.isUpgraded(row) || socket === undefined) continue
      this.#connections.callBack(row, () => void socket.destroy(), undefined)
    }
  }

  closeSlow(row: number): void {
    const connection = this.#connections.awake.get(row)
    const { socket } = connection ?? {}
    if (connection === undefined || socket === undefined || socket.destroyed) return
    connection.isSlow = true
    // With a RST: the kernel would otherwise keep what it has not sent, and try for minutes to send it. Node's
    // resetAndDestroy() waits until everything is sent.
    const fd = descriptorOf(socket)
    if (fd !== -1) resetOnClose(fd)
    this.#connections.callBack(row, () => void socket.destroy(), undefined)
  }

  onSlowReader(row: number, socket: Socket): void {
    this.#streams.onSlowReader(row, socket)
  }

  // For the application.

  /** Sends bytes to all connections: see {@link Parked.broadcast}. */
  broadcast(data: string | Uint8Array, filter?: (id: number) => boolean): Promise<number> {
    const bytes = toBytes(data)
    return this.#protocol.isPlain ? this.#broadcaster.send(bytes, filter) : Promise.resolve(0)
  }

  /** Makes the connection of a response a stream: see {@link Parked.stream}. */
  stream(response: ServerResponse): Connection {
    if (!this.#isHttp) throw notStreamable()
    return this.#streams.start(response)
  }

  audit(): string[] {
    return auditConnections(this.#connections, this.#registration, this.#timers)
  }

  /** Memory outside the kernel for all connections, in bytes: see {@link ParkStats.bytesPerConnection}. */
  get bytes(): number {
    const upgraded = this.upgrades.protocol?.bytes ?? 0
    const descriptors = BYTES_PER_DESCRIPTOR * this.#registration.parked
    return this.#connections.bytes + upgraded + this.#timers.bytes + descriptors
  }

  /** Returns how many upgraded connections there are. Looks at those that are awake. */
  upgraded(): { parked: number; awake: number } {
    const { upgraded } = this.#registration
    let awake = 0
    if (upgraded > 0) for (const row of this.#connections.awake.keys()) if (this.isUpgraded(row)) awake++
    return { parked: upgraded - awake, awake }
  }

  /** Returns what the inside socket reports of this server. */
  report(): ServerReport {
    const address = this.#server.address()
    const place = typeof address === 'string' ? { path: address } : address && { ...address, host: address.address }
    const { parked, upgraded } = this.#registration
    const awake = this.#connections.awake.size
    return {
      address: place === null ? undefined : formatAddress(place),
      protocol: protocolName(this.#server),
      parked,
      awake,
      connections: parked + awake,
      webSockets: upgraded
    }
  }

  /** Returns the figures of this server. */
  stats(): ParkStats {
    const { table, awake } = this.#connections
    return {
      parked: this.#registration.parked,
      awake: awake.size,
      accepted: this.#accepted,
      dropped: this.#gate.dropped,
      woken: this.#woken,
      parkedAgain: this.#parkedAgain,
      closed: { ...this.#closed },
      bytesPerConnection: table.size === 0 ? 0 : this.bytes / table.size
    }
  }
}

/** Whether nothing has passed on a socket, in either direction. */
function isSilent({ bytesRead, bytesWritten }: Socket): boolean {
  return bytesRead === 0 && bytesWritten === 0
}

let hasWarnedOfHeader = false

function warnOfHeader(): void {
  if (hasWarnedOfHeader) return
  hasWarnedOfHeader = true
  warn(
    'EBB_PROXY_HEADER',
    'a connection begins with a header of the PROXY protocol: it is not parked again, because only its first socket gets the header; with the option proxyProtocol, and without a wrapper of the server, it is'
  )
}
