/**
 * The connections that one process holds: non-blocking connects over the reactor.
 *
 * A connection has no object, only a descriptor, which is also its *line* in the arrays. Each descriptor is watched
 * edge-triggered from its connect on. Therefore the client learns that a connection is established, answered or closed
 * without another system call. Only a connection with TLS has a socket: see {@link TlsLinks}.
 */
import { setImmediate as turn } from 'node:timers/promises'
import {
  addressOf,
  bindTo,
  closeDescriptor,
  constants,
  createSocket,
  errorName,
  grown,
  reactor,
  receiveAt,
  resetOnClose,
  resized,
  SocketAddress,
  sendAt,
  sendBytes,
  setOption,
  startConnect,
  takeError,
  type Watcher
} from 'ebb/sys'
import { type Causes, count, total } from './causes.js'
import type { ClientOptions } from './client-options.js'
import type { Arrivals } from './crowd.js'
import { idIn } from './ids.js'
import { Latencies, type Latency } from './latencies.js'
import { emptyOpened, type Opened } from './opened.js'
import { Pace } from './pace.js'
import type { Protocol, Wire } from './protocols/protocol.js'
import { protocolOf } from './protocols/protocol-of.js'
import { Schedule } from './schedule.js'
import { Sources } from './sources.js'
import { type LinkEvents, TlsLinks } from './tls-links.js'
import { type Traffic, TrafficCounter } from './traffic.js'

/** Maximum number of connects in progress: enough to keep a server busy, and few enough for its backlog. */
const MAX_CONNECTING = 512
/** Number of connects to begin before the event loop gets a turn. */
const CONNECT_BURST = 64
/** Milliseconds after which a burst of connects is cut short. */
const MAX_BURST_MS = 20
/** Number of connections to close before the event loop gets a turn. */
const CLOSE_BURST = 512
/** Milliseconds between two checks of time limits. */
const TIMEOUT_CHECK = 100
/** Milliseconds until the next attempt after the server's full backlog has refused a connect. */
const STALL_RETRY = 10
/** Bytes to read at once. */
const READ_SIZE = 65_536
/** Maximum number of reads of one connection in a row, because a server may send without end. */
const READ_BURST = 16
/** A connect that begins more than this (ms) after its time is late. Timers alone are late by 1 to 2 ms. */
const LATE = 10

// States of a connection, one of them in a byte for each line. 0: there is none.
const CONNECTING = 1
/** Established, and in the handshake of TLS or of the protocol. */
const SHAKING = 2
const OPEN = 4
const STATES = CONNECTING | SHAKING | OPEN
// Flags of an open connection, in the same byte.
/** An answer is awaited, or room for the rest of a message. */
const AWAITING = 8
/** What is awaited is its first answer, for which `connect()` waits. */
const FIRST = 16
/** A message became due while an answer was awaited. */
const OWED = 32
/** A pong is awaited. */
const PINGED = 64

const EVENTS = constants.EPOLLIN | constants.EPOLLOUT | constants.EPOLLRDHUP | constants.EPOLLET
const ENDS = constants.EPOLLRDHUP | constants.EPOLLHUP | constants.EPOLLERR

/** Opens, holds and closes the connections of this process. */
export class Client implements Watcher, Wire {
  /** Latencies since it was made or they were reset. */
  readonly latencies = new Latencies()
  /** @internal */
  readonly traffic = new TrafficCounter()

  readonly #options: ClientOptions
  readonly #target: SocketAddress
  readonly #reactor = reactor()
  readonly #owner: number
  readonly #sources: Sources
  readonly #protocol: Protocol
  readonly #links: TlsLinks | undefined
  /** Whether active connections send something by themselves. */
  readonly #speaks: boolean
  readonly #messages: Schedule | undefined
  readonly #pings: Schedule | undefined
  /** Receives what the server sends. A field, because the garbage collector does not see the pointer to it. */
  readonly #buffer = Buffer.allocUnsafeSlow(READ_SIZE)
  readonly #bufferAt = addressOf(this.#buffer)

  #state = new Uint8Array(0)
  /** By line: the time (ms) at which its connect, or its wait for an answer, began. */
  #since = new Float64Array(0)
  /** By line: the time (ms) at which its connect, or its last message, began and was meant to begin. */
  #began = new Float64Array(0)
  #meant = new Float64Array(0)
  /** By line: the time (ms) at which the message that it owes was due. Empty if there is one message only. */
  #owed = new Float64Array(0)
  /** By line: the time (ms) at which its last ping was sent. Empty without pings. */
  #pinged = new Float64Array(0)
  /** By line: number of the connection at its server, and how many messages it has sent. */
  #id = new Uint32Array(0)
  #sentBy = new Uint32Array(0)
  /** By line: what the kernel has not taken yet. */
  readonly #unsent = new Map<number, Buffer>()

  /** When the connects of the current `connect()` are meant to begin. Undefined: as fast as the server answers. */
  #pace: Pace | undefined
  /** Whether each connect of the current `connect()` replaces a connection, and for how many of them one has left. */
  #replaces = false
  #left = 0
  /** The line that left last. */
  #lastLeft = -1
  /** Number of connects that were begun by the current `connect()`. */
  #started = 0
  /** Number of connections so far, since there was none. */
  #numbered = 0
  /** Time (ms) since which the server's backlog has been full, or 0. */
  #stalledAt = 0
  /** Connections that are CONNECTING or SHAKING, PINGED, AWAITING, FIRST, and OPEN. */
  #connecting = 0
  #pinging = 0
  #awaiting = 0
  #waiting = 0
  #open = 0
  #opened: Opened = emptyOpened()
  #lost: Causes = {}
  #notify: (() => void) | undefined
  #timeouts: NodeJS.Timeout | undefined

  /** @throws {SystemError} if the reactor cannot be created */
  constructor(options: ClientOptions) {
    const { address, sources, part, protocol = { protocol: 'tcp' }, tls = null, payload, every, ping } = options
    this.#options = options
    this.#target = new SocketAddress(address)
    this.#sources = new Sources(sources, 'host' in address && address.host.startsWith('127.'), part)
    this.#protocol = protocolOf(this, protocol, options)
    this.#speaks = protocol.protocol === 'http' || payload !== null
    if (tls !== null) this.#links = new TlsLinks(tls, options.close === 'rst', this.#linkEvents())
    if (every !== undefined && every > 0)
      this.#messages = new Schedule(every, true, (line, due) => this.#speak(line, due))
    if (ping !== undefined && ping > 0) this.#pings = new Schedule(ping, false, (line) => this.#ping(line))
    this.#owner = this.#reactor.register(this)
  }

  /** Number of connections that are open now. */
  get open(): number {
    return this.#open
  }

  /** Number of connects that have failed in the current or last `connect()`. */
  get failed(): number {
    return total(this.#opened.failed)
  }

  /** Returns what the connections have sent and received since the last call. */
  takeTraffic(): Traffic {
    return this.traffic.take()
  }

  /**
   * Returns the connections that the server closed first since the last call, by cause. Also counts those that the
   * kernel knows to be closed, but that this process was too busy to notice.
   */
  async takeLost(): Promise<Causes> {
    // The first turn may end before the event loop polls. Each further turn has one poll, which handles a limited
    // number of events.
    if (this.#open > 0) await turn()
    for (let open = Number.POSITIVE_INFINITY; this.#open > 0 && this.#open < open; ) {
      open = this.#open
      await turn()
    }
    const lost = this.#lost
    this.#lost = {}
    return lost
  }

  /**
   * Opens `n` connections. Resolves when each of them is open, and answered if answers are awaited, or has failed.
   *
   * @param signal cancels connects in progress; connections that are already open stay open
   */
  async connect(n: number, signal?: AbortSignal, arrivals: Arrivals = {}): Promise<Opened> {
    const opened = emptyOpened()
    this.#opened = opened
    this.#started = 0
    if (this.#open === 0) this.#numbered = 0
    this.#sources.reset()
    const start = performance.now()
    const rate = arrivals.rate ?? this.#options.rate
    const isPaced = rate !== Number.POSITIVE_INFINITY
    this.#pace = isPaced ? new Pace(rate, arrivals.start ?? start, this.#options.part) : undefined
    this.#replaces = arrivals.replace === true
    this.#left = 0
    this.#reactor.ref()
    try {
      await this.#beginAll(n, signal)
      while (this.#connecting > 0 && signal?.aborted !== true) await this.#nextChange(undefined, signal)
      opened.ms = performance.now() - start
      while (this.#waiting > 0 && signal?.aborted !== true) await this.#nextChange(undefined, signal)
      if (signal?.aborted) {
        opened.abandoned += n - this.#started + this.#connecting
        const due = this.#pace?.due(performance.now() - LATE, n) ?? 0
        opened.late += Math.max(0, due - this.#started)
        this.#cancel()
      }
    } finally {
      this.#reactor.unref()
    }
    return opened
  }

  /** Closes `max` connections, or all of them, connects in progress included. Yields to the event loop in between. */
  async close(max = Number.POSITIVE_INFINITY): Promise<void> {
    let closed = 0
    for (let line = this.#next(-1); line !== -1 && closed < max; line = this.#next(line)) {
      this.#discard(line)
      if (++closed % CLOSE_BURST === 0) await turn()
    }
    await this.#links?.settled()
  }

  /** Releases everything except the connections. Call it after `close()`. */
  dispose(): void {
    clearInterval(this.#timeouts)
    this.#reactor.unregister(this.#owner)
  }

  /** @internal Called by the reactor. */
  ready(line: number, events: number): void {
    if (this.#state[line] === CONNECTING) {
      if ((events & (constants.EPOLLERR | constants.EPOLLHUP)) !== 0) {
        this.#fail(line, errorName(takeError(line) || constants.E.ECONNRESET))
        return
      }
      if ((events & constants.EPOLLOUT) === 0) return
      this.#established(line)
      // TLS reads by itself from here on.
      if (this.#links !== undefined) return
    } else if ((events & constants.EPOLLOUT) !== 0 && this.#unsent.size > 0) this.#flush(line)
    if ((events & ~constants.EPOLLOUT) !== 0) this.#receive(line, events)
  }

  // The methods of Wire, which the protocol calls.

  /** @internal */
  idOf(line: number): number {
    const { server, ids } = this.#options
    const n = this.#id[line] as number
    const all = server === undefined ? n : n * server.of + server.index
    return ids === undefined ? all : idIn(ids, all)
  }

  /** @internal */
  sentBy(line: number): number {
    return this.#sentBy[line] as number
  }

  /** @internal */
  isAwaiting(line: number): boolean {
    return ((this.#state[line] as number) & AWAITING) !== 0
  }

  /** @internal */
  send(line: number, bytes: Uint8Array, address = 0): void {
    if (this.#links !== undefined) {
      this.#links.send(line, bytes)
      return
    }
    const before = this.#unsent.size === 0 ? undefined : this.#unsent.get(line)
    if (before !== undefined) {
      this.#unsent.set(line, Buffer.concat([before, bytes]))
      return
    }
    const sent = address === 0 ? sendBytes(line, bytes) : sendAt(line, address, bytes.length)
    // No room: an event follows when there is some. An error: the next read reports it.
    if (sent < bytes.length) this.#unsent.set(line, Buffer.from(bytes.subarray(Math.max(0, sent))))
  }

  /** @internal */
  opened(line: number): void {
    const now = performance.now()
    this.#connecting--
    this.#opened.connected++
    this.#open++
    this.#record(this.latencies.connects, line, now)
    this.#state[line] = OPEN
    this.#pings?.add(line, now)
    if (this.#speaks && this.#isActive(line)) {
      this.#messages?.add(line, now)
      this.#sendMessage(line, now)
      if (this.isAwaiting(line)) {
        this.#state[line] = (this.#state[line] as number) | FIRST
        this.#waiting++
      }
    }
    this.#notify?.()
  }

  /** @internal */
  answered(line: number): void {
    if (!this.isAwaiting(line)) return
    const now = performance.now()
    this.traffic.answered++
    this.#record(this.latencies.answers, line, now)
    if (((this.#state[line] as number) & FIRST) !== 0 && this.#options.expectEcho) this.#opened.echoed++
    this.#settle(line)
    this.#speakAgain(line, now)
  }

  /** @internal */
  unanswered(line: number, cause: string): void {
    if (!this.isAwaiting(line)) return
    if (((this.#state[line] as number) & FIRST) !== 0) count(this.#opened.unanswered, cause)
    else this.traffic.countUnanswered(cause)
    this.#settle(line)
    this.#speakAgain(line)
  }

  /** @internal */
  ponged(line: number): void {
    if (((this.#state[line] as number) & PINGED) === 0) return
    this.#state[line] = (this.#state[line] as number) & ~PINGED
    this.#pinging--
    this.traffic.pongs++
  }

  /** @internal */
  refuse(line: number, cause: string): void {
    const state = this.#state[line] as number
    if ((state & SHAKING) !== 0) this.#fail(line, cause)
    else if ((state & OPEN) !== 0) this.#lose(line, cause)
  }

  /** Begins `n` connects at the configured rate, with a limited number in progress. */
  async #beginAll(n: number, signal: AbortSignal | undefined): Promise<void> {
    const pace = this.#pace
    while (this.#started < n && signal?.aborted !== true) {
      const due = pace?.due(performance.now(), n) ?? n
      const room = Math.min(CONNECT_BURST, due - this.#started, MAX_CONNECTING - this.#connecting)
      const begun = this.#beginBurst(room)
      if (begun < room) await this.#nextChange(STALL_RETRY, signal)
      else if (room === CONNECT_BURST) await turn()
      else if (this.#started < n) {
        const hasRoom = this.#connecting < MAX_CONNECTING
        const wait = hasRoom ? pace?.wait(this.#started, performance.now()) : undefined
        await this.#nextChange(wait, signal)
      }
    }
  }

  /** Resolves when the next connection changes its state, after `ms` if given, or on abort. */
  #nextChange(ms: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        this.#notify = undefined
        resolve()
      }
      if (ms !== undefined) timer = setTimeout(done, ms)
      signal?.addEventListener('abort', done)
      this.#notify = done
    })
  }

  /**
   * Begins up to `max` connects, and returns how many were begun.
   *
   * It begins fewer when the server's backlog is full, which only a Unix socket reports. It also begins fewer when the
   * connects take long, so that timers and other connections get a turn: with most ports in use, the kernel searches
   * for milliseconds.
   */
  #beginBurst(max: number): number {
    const start = performance.now()
    for (let i = 0; i < max; i++) {
      if (i > 0 && performance.now() - start > MAX_BURST_MS) return i
      if (this.#replaces && this.#left === this.#started) {
        this.#left++
        if (!this.#closeNext()) {
          this.#opened.abandoned++
          this.#started++
          continue
        }
      }
      const errno = this.#begin(this.#started)
      if (errno === constants.E.EAGAIN && !this.#noteStall()) return i
      if (errno === constants.E.EADDRNOTAVAIL && this.#sources.next()) {
        i--
        continue
      }
      if (this.#pace !== undefined && performance.now() - this.#pace.at(this.#started) > LATE) this.#opened.late++
      this.#started++
      this.#stalledAt = 0
      if (errno !== 0) count(this.#opened.failed, errorName(errno))
    }
    return max
  }

  /**
   * Closes the next open connection in the order of lines, so that each stays open for about the same time. Returns
   * false if none is open.
   */
  #closeNext(): boolean {
    if (this.#open === 0) return false
    let line = this.#next(this.#lastLeft)
    // After the last line comes the first one.
    while (line === -1 || ((this.#state[line] as number) & OPEN) === 0) line = this.#next(line)
    this.#lastLeft = line
    this.#opened.replaced++
    this.#discard(line)
    return true
  }

  /** Notes that the server's backlog is full. Returns whether it has been full for longer than the timeout. */
  #noteStall(): boolean {
    const now = performance.now()
    this.#stalledAt ||= now
    return now - this.#stalledAt > this.#options.timeout
  }

  /** Begins connect number `index`. Returns 0, or an errno after it has closed the socket. */
  #begin(index: number): number {
    this.#sources.reserve()
    const line = createSocket(this.#target.family)
    if (line < 0) return -line
    this.#reserve(line)
    const now = performance.now()
    const errno =
      this.#bindSource(line, index) || startConnect(line, this.#target) || this.#reactor.add(line, EVENTS, this.#owner)
    if (errno !== 0) {
      closeDescriptor(line)
      return errno
    }
    const { part } = this.#options
    this.#state[line] = CONNECTING
    this.#since[line] = now
    this.#began[line] = now
    this.#meant[line] = this.#pace?.at(index) ?? now
    this.#id[line] = this.#numbered++ * part.of + part.index
    this.#sentBy[line] = 0
    this.#connecting++
    this.#watchTimeouts()
    return 0
  }

  /**
   * Binds the socket to its source address, if it has one. Returns 0 or an errno.
   *
   * A bind to port 0 would reserve the port for this socket alone. `IP_BIND_ADDRESS_NO_PORT` leaves the choice to
   * connect.
   */
  #bindSource(line: number, index: number): number {
    const source = this.#sources.at(index)
    if (source === undefined) return 0
    setOption(line, constants.IPPROTO_IP, constants.IP_BIND_ADDRESS_NO_PORT, 1)
    return bindTo(line, source)
  }

  /** Returns whether a connection is one that sends messages. */
  #isActive(line: number): boolean {
    const { active, part } = this.#options
    const index = Math.floor((this.#id[line] as number) / part.of)
    return activeOf(index + 1, active) > activeOf(index, active)
  }

  /** The connection is established. */
  #established(line: number): void {
    this.#state[line] = SHAKING
    if (this.#links === undefined) this.#protocol.begin(line)
    else {
      this.#reactor.remove(line)
      this.#links.open(line)
    }
  }

  /** What the sockets of TLS report. */
  #linkEvents(): LinkEvents {
    return {
      secured: (line, isResumed) => {
        if (isResumed) this.traffic.resumed++
        this.#protocol.begin(line)
      },
      received: (line, bytes, length) => {
        if (this.#state[line] !== 0) this.#protocol.receive(line, bytes, length)
      },
      drained: (line) => this.#onDrained(line),
      ended: (line, cause) => this.#ended(line, cause)
    }
  }

  /** Sends the message of a connection, which was due at `due`. */
  #speak(line: number, due: number, now = performance.now()): void {
    const state = this.#state[line] as number
    if ((state & AWAITING) !== 0) {
      if ((state & OWED) !== 0) this.traffic.late++
      else {
        this.#state[line] = state | OWED
        this.#owed[line] = due
      }
      return
    }
    this.#began[line] = now
    this.#meant[line] = due
    this.#sendMessage(line, now)
  }

  #sendMessage(line: number, now: number): void {
    this.#since[line] = now
    this.traffic.sent++
    if (this.#protocol.awaitsAnswer) this.#await(line)
    this.#protocol.speak(line)
    this.#sentBy[line] = (this.#sentBy[line] as number) + 1
    if (!this.#protocol.awaitsAnswer && this.#hasUnsent(line)) this.#await(line)
  }

  /** Records the latency from the start of a connection or a message until `now`. */
  #record(latency: Latency, line: number, now: number): void {
    latency.record(this.#meant[line] as number, this.#began[line] as number, now)
  }

  #await(line: number): void {
    this.#state[line] = (this.#state[line] as number) | AWAITING
    this.#awaiting++
    this.#watchTimeouts()
  }

  /** Sends the message that the connection owes, or the next one if there is no pause between messages. */
  #speakAgain(line: number, now = performance.now()): void {
    const state = this.#state[line] as number
    if ((state & OWED) !== 0) {
      this.#state[line] = state & ~OWED
      this.#speak(line, this.#owed[line] as number, now)
    } else if (this.#options.every === 0) this.#speak(line, now, now)
  }

  #ping(line: number): void {
    const state = this.#state[line] as number
    if ((state & PINGED) !== 0) return
    this.#state[line] = state | PINGED
    this.#pinged[line] = performance.now()
    this.#pinging++
    this.traffic.pings++
    this.#watchTimeouts()
    this.#protocol.ping(line)
  }

  #hasUnsent(line: number): boolean {
    return this.#links === undefined ? this.#unsent.has(line) : this.#links.hasUnsent(line)
  }

  /** Sends what the kernel did not take before. */
  #flush(line: number): void {
    const bytes = this.#unsent.get(line)
    if (bytes === undefined) return
    const sent = sendBytes(line, bytes)
    if (sent > 0 && sent < bytes.length) this.#unsent.set(line, bytes.subarray(sent))
    if (sent < bytes.length) return
    this.#unsent.delete(line)
    this.#onDrained(line)
  }

  /** All bytes are sent. Where no answer is awaited, that was all. */
  #onDrained(line: number): void {
    if (this.#protocol.awaitsAnswer || !this.isAwaiting(line)) return
    this.#settle(line)
    this.#speakAgain(line)
  }

  /**
   * Reads what has come. An edge-triggered event is reported only once, so this reads until nothing is left. A read
   * that fills only a part of the buffer has taken all, unless the event tells of an end.
   */
  #receive(line: number, events: number): void {
    for (let reads = 0; ; reads++) {
      if (reads === READ_BURST) {
        // Asks epoll to report the descriptor again in the next turn.
        this.#reactor.modify(line, EVENTS)
        return
      }
      const received = receiveAt(line, this.#bufferAt, READ_SIZE)
      if (received <= 0) {
        if (received === 0) this.#ended(line, undefined)
        else if (received !== -constants.E.EAGAIN) this.#ended(line, errorName(-received))
        return
      }
      this.#protocol.receive(line, this.#buffer, received)
      if (this.#state[line] === 0 || (received < READ_SIZE && (events & ENDS) === 0)) return
    }
  }

  /** The connection has ended: with an error, or with a FIN if `cause` is undefined. */
  #ended(line: number, cause: string | undefined): void {
    const state = this.#state[line] as number
    if (state === 0) return
    const why = cause ?? this.#protocol.ended(line)
    if ((state & OPEN) === 0) this.#fail(line, why)
    else this.#lose(line, why)
  }

  /** The connect or the handshake has failed. */
  #fail(line: number, cause: string): void {
    this.#connecting--
    count(this.#opened.failed, cause)
    this.#free(line)
    this.#notify?.()
  }

  /** An open connection is lost. */
  #lose(line: number, cause: string): void {
    count(this.#lost, cause)
    this.#leave(line, cause)
  }

  /** An open connection ends, and what it waits for is not answered. */
  #leave(line: number, cause: string): void {
    const state = this.#state[line] as number
    if ((state & AWAITING) !== 0) {
      this.#state[line] = state & ~OWED
      if ((state & FIRST) !== 0) count(this.#opened.unanswered, cause)
      else this.traffic.countUnanswered(cause)
      this.#settle(line)
    }
    this.#open--
    this.#free(line)
  }

  /** Nothing is awaited any more. */
  #settle(line: number): void {
    const state = this.#state[line] as number
    this.#awaiting--
    if ((state & FIRST) !== 0) this.#waiting--
    this.#state[line] = state & ~(AWAITING | FIRST)
    if ((state & FIRST) !== 0) this.#notify?.()
  }

  /** Closes the descriptor and forgets the connection. */
  #free(line: number): void {
    if (((this.#state[line] as number) & PINGED) !== 0) this.#pinging--
    this.#state[line] = 0
    this.#messages?.remove(line)
    this.#pings?.remove(line)
    if (this.#unsent.size > 0) this.#unsent.delete(line)
    this.#protocol.forget(line)
    if (this.#links?.close(line) !== true) this.#reactor.close(line)
  }

  /**
   * Closes connects in progress and stops waiting for answers, so that nothing changes after `connect()` has resolved.
   */
  #cancel(): void {
    for (let line = this.#next(-1); line !== -1; line = this.#next(line)) {
      const state = this.#state[line] as number
      if ((state & OPEN) === 0) this.#discard(line)
      else if ((state & FIRST) !== 0) {
        this.#state[line] = state & ~FIRST
        this.#waiting--
      }
    }
  }

  #discard(line: number): void {
    const state = this.#state[line] as number
    if ((state & OPEN) === 0) this.#connecting--
    else this.#open--
    if ((state & AWAITING) !== 0) this.#settle(line)
    if (this.#options.close === 'rst') resetOnClose(line)
    else if ((state & OPEN) !== 0 && !this.#hasUnsent(line)) {
      const words = this.#protocol.lastWords(line)
      if (words !== undefined) this.send(line, words)
    }
    this.#free(line)
  }

  /** Checks time limits regularly, as long as there are any. */
  #watchTimeouts(): void {
    this.#timeouts ??= setInterval(() => this.#checkTimeouts(), TIMEOUT_CHECK).unref()
  }

  /** Checks the time limit of all connections. One scan is cheaper than a timer for each connection. */
  #checkTimeouts(): void {
    if (this.#connecting + this.#awaiting + this.#pinging === 0) {
      clearInterval(this.#timeouts)
      this.#timeouts = undefined
      return
    }
    const limit = performance.now() - this.#options.timeout
    for (let line = this.#next(-1); line !== -1; line = this.#next(line)) {
      const state = this.#state[line] as number
      if ((state & PINGED) !== 0 && (this.#pinged[line] as number) <= limit) this.#lose(line, 'NO_PONG')
      else if ((this.#since[line] as number) > limit) continue
      else if (state === CONNECTING) this.#fail(line, 'ETIMEDOUT')
      else if (state === SHAKING) this.#fail(line, 'TIMEOUT')
      else if ((state & AWAITING) !== 0) this.#overdue(line)
    }
  }

  /**
   * An answer has not come in time, or the server has not read a message. The connection is closed if what follows
   * could be taken for another answer, or the rest of the message would be in the way of the next one. It does not
   * count as lost: the answer counts.
   */
  #overdue(line: number): void {
    const cause = this.#hasUnsent(line) ? 'STALLED' : 'TIMEOUT'
    if (this.#protocol.needsOrder || (cause === 'STALLED' && this.#messages !== undefined)) this.#leave(line, cause)
    else this.unanswered(line, cause)
  }

  /** Returns the next line after `line` that has a connection, or -1. */
  #next(line: number): number {
    const end = this.#state.length
    for (let next = line + 1; next < end; next++) if (((this.#state[next] as number) & STATES) !== 0) return next
    return -1
  }

  /** Grows the arrays so that they have an element for `line`. */
  #reserve(line: number): void {
    if (line < this.#state.length) return
    const size = grown(this.#state.length, line + 1)
    this.#state = resized(this.#state, new Uint8Array(size))
    this.#since = resized(this.#since, new Float64Array(size))
    this.#began = resized(this.#began, new Float64Array(size))
    this.#meant = resized(this.#meant, new Float64Array(size))
    this.#id = resized(this.#id, new Uint32Array(size))
    this.#protocol.reserve(size)
    if (this.#pings !== undefined) this.#pinged = resized(this.#pinged, new Float64Array(size))
    if (!this.#speaks) return
    this.#sentBy = resized(this.#sentBy, new Uint32Array(size))
    if (this.#messages !== undefined) this.#owed = resized(this.#owed, new Float64Array(size))
  }
}

/**
 * Returns how many of the first `n` connections are active. The small addition corrects shares that binary fractions
 * cannot hold: 0.58 of 50 connections are 29.
 */
function activeOf(n: number, share: number): number {
  return Math.floor(n * share + 1e-9 * n)
}
