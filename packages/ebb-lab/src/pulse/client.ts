/**
 * The connections that one process holds: non-blocking connects over the reactor.
 *
 * A connection has no object, only a descriptor. Each descriptor is watched edge-triggered from its connect on.
 * Therefore the client learns that a connection is established, answered or closed without another system call.
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
  sendBytes,
  setOption,
  startConnect,
  takeError,
  type Watcher
} from 'ebb/sys'
import { type Causes, count, total } from './causes.js'
import type { Arrivals } from './crowd.js'
import { Latencies, type Latency } from './latencies.js'
import { emptyOpened, type Opened } from './opened.js'
import { Pace } from './pace.js'
import { Sources } from './sources.js'

/** How a client connects. */
export interface ClientOptions {
  /** The server: an IP address (not a host name) and a port, or the path of a Unix socket. */
  address: { host: string; port: number } | { path: string }
  /**
   * Local addresses to connect from, in turn. If empty, the kernel chooses; on loopback, more are added as ports run
   * out.
   */
  sources: readonly string[]
  /** Connects per second. `Infinity` connects as fast as the server answers. */
  rate: number
  /** Milliseconds after which a connect, or an awaited answer, has failed. */
  timeout: number
  /** How to close: with a FIN, or with a reset (`SO_LINGER` of 0). */
  close: 'fin' | 'rst'
  /** Bytes that each active connection sends once, or null. */
  payload: Uint8Array | null
  /** Share of connections that send the payload, from 0 to 1, spread evenly. */
  active: number
  /** Whether active connections wait for the payload to come back. */
  expectEcho: boolean
  /** Index of this client among `of` clients that share the load. Clients take different automatic sources. */
  part: { index: number; of: number }
}

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
/** Bytes to read at once. The data is compared with the payload or dropped. */
const READ_SIZE = 65_536
/** Maximum number of reads of one connection in a row, because a server may send without end. */
const READ_BURST = 16
/** A connect that begins more than this (ms) after its time is late. Timers alone are late by 1 to 2 ms. */
const LATE = 10

// States of a connection, in the byte that the reactor keeps for each descriptor.
const CONNECTING = 1
const OPEN = 2
/** Open, and the payload is not completely sent or has not completely come back. */
const WAITING = 4

const EVENTS = constants.EPOLLIN | constants.EPOLLOUT | constants.EPOLLRDHUP | constants.EPOLLET

/** Opens, holds and closes the connections of this process. */
export class Client implements Watcher {
  /** Latencies since it was made or they were reset. */
  readonly latencies = new Latencies()

  readonly #options: ClientOptions
  readonly #target: SocketAddress
  readonly #reactor = reactor()
  readonly #owner: number
  readonly #sources: Sources
  /** Receives what the server sends. A field, because the garbage collector does not see the pointer to it. */
  readonly #buffer = Buffer.allocUnsafeSlow(READ_SIZE)
  readonly #bufferAt = addressOf(this.#buffer)

  /** By descriptor: the time (ms) at which its connect, or its wait for an answer, began. */
  #since = new Float64Array(0)
  /** By descriptor: the time (ms) at which its connect began. */
  #began = new Float64Array(0)
  /** By descriptor: the time (ms) at which its connect was meant to begin. */
  #meant = new Float64Array(0)
  /** By descriptor: bytes of the payload that were sent. */
  #sent = new Uint32Array(0)
  /** By descriptor: bytes of the payload that came back. */
  #received = new Uint32Array(0)

  /** When the connects of the current `connect()` are meant to begin. Undefined: as fast as the server answers. */
  #pace: Pace | undefined
  /** Whether each connect of the current `connect()` replaces a connection, and for how many of them one has left. */
  #replaces = false
  #left = 0
  /** Descriptor of the last connection that left. */
  #lastLeft = -1
  /** Number of connects that were begun by the current `connect()`. */
  #started = 0
  /** Time (ms) since which the server's backlog has been full, or 0. */
  #stalledAt = 0
  #connecting = 0
  #waiting = 0
  #open = 0
  #opened: Opened = emptyOpened()
  #lost: Causes = {}
  #notify: (() => void) | undefined

  /** @throws {SystemError} if the reactor cannot be created */
  constructor(options: ClientOptions) {
    const { address, sources, part } = options
    this.#options = options
    this.#target = new SocketAddress(address)
    this.#sources = new Sources(sources, 'host' in address && address.host.startsWith('127.'), part)
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
    this.#sources.reset()
    const start = performance.now()
    const rate = arrivals.rate ?? this.#options.rate
    const isPaced = rate !== Number.POSITIVE_INFINITY
    this.#pace = isPaced ? new Pace(rate, arrivals.start ?? start, this.#options.part) : undefined
    this.#replaces = arrivals.replace === true
    this.#left = 0
    const timer = setInterval(() => this.#checkTimeouts(), TIMEOUT_CHECK)
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
      clearInterval(timer)
      this.#reactor.unref()
    }
    return opened
  }

  /** Closes `max` connections, or all of them, connects in progress included. Yields to the event loop in between. */
  async close(max = Number.POSITIVE_INFINITY): Promise<void> {
    let closed = 0
    for (let fd = this.#next(-1); fd !== -1 && closed < max; fd = this.#next(fd)) {
      this.#discard(fd)
      if (++closed % CLOSE_BURST === 0) await turn()
    }
  }

  /** Releases everything except the connections. Call it after `close()`. */
  dispose(): void {
    this.#reactor.unregister(this.#owner)
  }

  /** @internal Called by the reactor. */
  ready(fd: number, events: number): void {
    if (this.#reactor.state[fd] === CONNECTING) {
      if ((events & (constants.EPOLLERR | constants.EPOLLHUP)) !== 0)
        this.#connectFailed(fd, takeError(fd) || constants.E.ECONNRESET)
      else if ((events & constants.EPOLLOUT) !== 0) this.#connected(fd)
      else return
      // The connect has failed, so the descriptor is closed.
      if (this.#reactor.serial[fd] === 0) return
    }
    if (this.#reactor.state[fd] === WAITING && (events & constants.EPOLLOUT) !== 0) this.#send(fd)
    if ((events & ~constants.EPOLLOUT) !== 0) this.#receive(fd)
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
   * Closes the next open connection in the order of descriptors, so that each stays open for about the same time.
   * Returns false if none is open.
   */
  #closeNext(): boolean {
    if (this.#open === 0) return false
    let fd = this.#next(this.#lastLeft)
    // After the last descriptor comes the first one.
    while (fd === -1 || this.#reactor.state[fd] === CONNECTING) fd = this.#next(fd)
    this.#lastLeft = fd
    this.#opened.replaced++
    this.#discard(fd)
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
    const fd = createSocket(this.#target.family)
    if (fd < 0) return -fd
    this.#reserve(fd)
    const now = performance.now()
    this.#since[fd] = now
    this.#began[fd] = now
    this.#meant[fd] = this.#pace?.at(index) ?? now
    const errno =
      this.#bindSource(fd, index) || startConnect(fd, this.#target) || this.#reactor.add(fd, EVENTS, this.#owner)
    if (errno !== 0) {
      closeDescriptor(fd)
      return errno
    }
    this.#reactor.state[fd] = CONNECTING
    this.#connecting++
    if (this.#options.payload !== null) {
      this.#received[fd] = 0
      this.#sent[fd] = this.#isActive(index) ? 0 : this.#options.payload.length
    }
    return 0
  }

  /**
   * Binds the socket to its source address, if it has one. Returns 0 or an errno.
   *
   * A bind to port 0 would reserve the port for this socket alone. `IP_BIND_ADDRESS_NO_PORT` leaves the choice to
   * connect.
   */
  #bindSource(fd: number, index: number): number {
    const source = this.#sources.at(index)
    if (source === undefined) return 0
    setOption(fd, constants.IPPROTO_IP, constants.IP_BIND_ADDRESS_NO_PORT, 1)
    return bindTo(fd, source)
  }

  /** Returns whether connect number `index` is one that sends the payload. */
  #isActive(index: number): boolean {
    const { active, payload } = this.#options
    return payload !== null && activeOf(index + 1, active) > activeOf(index, active)
  }

  #connected(fd: number): void {
    this.#connecting--
    this.#opened.connected++
    this.#open++
    const now = performance.now()
    this.#record(this.latencies.connects, fd, now)
    this.#reactor.state[fd] = OPEN
    const { payload } = this.#options
    if (payload !== null && (this.#sent[fd] as number) < payload.length) {
      this.#reactor.state[fd] = WAITING
      this.#since[fd] = now
      this.#waiting++
    }
    this.#notify?.()
  }

  /** Records the latency from the start of a connection until `now`. */
  #record(latency: Latency, fd: number, now: number): void {
    latency.record(this.#meant[fd] as number, this.#began[fd] as number, now)
  }

  #connectFailed(fd: number, errno: number): void {
    this.#connecting--
    this.#reactor.close(fd)
    count(this.#opened.failed, errorName(errno))
    this.#notify?.()
  }

  #send(fd: number): void {
    const payload = this.#options.payload as Uint8Array
    let sent = this.#sent[fd] as number
    while (sent < payload.length) {
      const written = sendBytes(fd, payload.subarray(sent))
      // No room: an event follows when there is some. An error: the next read reports it.
      if (written <= 0) break
      sent += written
    }
    this.#sent[fd] = sent
    if (sent === payload.length && !this.#options.expectEcho) this.#answered(fd)
  }

  /** Reads until nothing is left, because an edge-triggered event is reported only once. */
  #receive(fd: number): void {
    for (let reads = 0; ; reads++) {
      if (reads === READ_BURST) {
        // Asks epoll to report the descriptor again in the next turn.
        this.#reactor.modify(fd, EVENTS)
        return
      }
      const received = receiveAt(fd, this.#bufferAt, READ_SIZE)
      if (received > 0) {
        if (this.#reactor.state[fd] === WAITING) this.#compare(fd, received)
        continue
      }
      if (received !== -constants.E.EAGAIN) this.#serverClosed(fd, received === 0 ? 'FIN' : errorName(-received))
      return
    }
  }

  /** Compares the received bytes with the payload. */
  #compare(fd: number, length: number): void {
    const payload = this.#options.payload as Uint8Array
    const from = this.#received[fd] as number
    const to = from + length
    this.#received[fd] = to
    const same = to <= payload.length && this.#buffer.compare(payload, from, to, 0, length) === 0
    if (!same) this.#unanswered(fd, 'MISMATCH')
    else if (to === payload.length) {
      this.#opened.echoed++
      this.#record(this.latencies.answers, fd, performance.now())
      this.#answered(fd)
    }
  }

  #answered(fd: number): void {
    this.#reactor.state[fd] = OPEN
    this.#waiting--
    this.#notify?.()
  }

  #unanswered(fd: number, cause: string): void {
    count(this.#opened.unanswered, cause)
    this.#answered(fd)
  }

  #serverClosed(fd: number, cause: string): void {
    if (this.#reactor.state[fd] === WAITING) this.#unanswered(fd, cause)
    count(this.#lost, cause)
    this.#open--
    this.#reactor.close(fd)
  }

  /**
   * Closes connects in progress and stops waiting for answers, so that nothing changes after `connect()` has resolved.
   */
  #cancel(): void {
    for (let fd = this.#next(-1); fd !== -1; fd = this.#next(fd)) {
      if (this.#reactor.state[fd] === CONNECTING) this.#discard(fd)
      else if (this.#reactor.state[fd] === WAITING) this.#answered(fd)
    }
  }

  #discard(fd: number): void {
    const state = this.#reactor.state[fd]
    if (state === CONNECTING) this.#connecting--
    else this.#open--
    if (state === WAITING) this.#waiting--
    if (this.#options.close === 'rst') resetOnClose(fd)
    this.#reactor.close(fd)
  }

  /** Checks the time limit of all connections. One scan is cheaper than a timer for each connection. */
  #checkTimeouts(): void {
    const limit = performance.now() - this.#options.timeout
    for (let fd = this.#next(-1); fd !== -1; fd = this.#next(fd)) {
      if ((this.#since[fd] as number) > limit) continue
      if (this.#reactor.state[fd] === CONNECTING) this.#connectFailed(fd, constants.E.ETIMEDOUT)
      else if (this.#reactor.state[fd] === WAITING) this.#unanswered(fd, 'TIMEOUT')
    }
  }

  /** Returns the next descriptor of this client after `fd`, or -1. */
  #next(fd: number): number {
    return this.#reactor.next(this.#owner, fd)
  }

  /** Grows the arrays so that they have an element for `fd`. */
  #reserve(fd: number): void {
    if (fd < this.#since.length) return
    const size = grown(this.#since.length, fd + 1)
    this.#since = resized(this.#since, new Float64Array(size))
    this.#began = resized(this.#began, new Float64Array(size))
    this.#meant = resized(this.#meant, new Float64Array(size))
    if (this.#options.payload === null) return
    this.#sent = resized(this.#sent, new Uint32Array(size))
    this.#received = resized(this.#received, new Uint32Array(size))
  }
}

/**
 * Returns how many of the first `n` connections are active. The small addition corrects shares that binary fractions
 * cannot hold: 0.58 of 50 connections are 29.
 */
function activeOf(n: number, share: number): number {
  return Math.floor(n * share + 1e-9 * n)
}
