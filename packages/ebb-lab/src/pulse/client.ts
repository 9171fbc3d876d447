/**
 * The connections of one process: non-blocking connects over the reactor.
 *
 * A connection is its descriptor and no object. It is watched edge-triggered from its connect on, so that being connected, being
 * answered and being closed by the server are told without another call to the kernel.
 */
import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { errorName, grown, libc, reactor, resized, SocketAddress, setOption, takeError, type Watcher } from 'ebb/sys'
import { LatencyHistogram } from './histogram.js'

/** How to connect. Times are milliseconds. */
export interface ClientOptions {
  /** The server: an IP address (not a name) and a port, or a Unix socket. */
  address: { host: string; port: number } | { path: string }
  /** Local addresses to connect from, in turn. Empty: the kernel chooses; on loopback more are added when its ports run out. */
  sources: readonly string[]
  /** Connects per second, or `Infinity`: as fast as the server answers. */
  rate: number
  /** A connect, and an awaited answer, that takes longer has failed. */
  timeout: number
  /** `rst`: close with a reset (`SO_LINGER` 0) in place of a FIN. */
  close: 'fin' | 'rst'
  /** What active connections send once. */
  payload: Uint8Array | null
  /** The share of connections that send it, from 0 to 1, spread evenly. */
  active: number
  /** Active connections wait for the payload to come back. */
  expectEcho: boolean
  /** Which of how many clients that share the load this is: they take different automatic sources. */
  part: { index: number; of: number }
}

/** Counts by cause: an errno's name, `FIN`, or `ETIMEDOUT` for our own time limit. */
export type Causes = Record<string, number>

/** What came of one `connect(n)`: `connected`, all of `failed` and `abandoned` together are `n`. */
export interface Opened {
  connected: number
  failed: Causes
  /** Connects that an abort left undone: begun and given up, or never begun. */
  abandoned: number
  /** Active connections that got all they sent back; others are in `unanswered`. */
  echoed: number
  /** `TIMEOUT`: not all came in time. `MISMATCH`: other bytes came. `FIN`, `ECONNRESET`, ...: the server closed first. */
  unanswered: Causes
  /** From the first connect's start to the last one's end. */
  ms: number
}

/** Connects under way at once: enough to keep a server busy, few enough for its queue. */
const WINDOW = 512
/** Connects begun, and connections closed, before the event loop has its turn. */
const BURST = 64
/** A burst that takes longer is broken off, ms. */
const LONGEST_BURST = 20
const CLOSE_BURST = 512
/** Time limits are looked at this often, ms. */
const LOOK = 100
/** Automatic sources, at most: 127.0.0.1 to 127.0.16.0, with 28,000 ports each. */
export const MOST_SOURCES = 4095
/**
 * Of a source's ports to one server, the share that is found at once. connect(2) tries every second port first, from where the last
 * search ended on, a few left out each time (`__inet_hash_connect` of Linux's `net/ipv4/inet_hashtables.c`): the nearer those are to
 * being used up, the more it tries for each connect, and then all of them in vain before the others (1,000 connects a second in
 * place of 40,000).
 */
const FOUND_AT_ONCE = 0.25
/** Read at once, of what the server sends and nobody needs. */
const READ = 65_536
/** Reads of one connection before others, timers and signals have their turn: a server may send for ever. */
const READ_BURST = 16
/** The longest wait for a connect that is due later, ms: a timer counts to 24 days, and a rate may be less than that. */
const LONGEST_WAIT = 60_000

// States, in the reactor's byte for each descriptor.
const CONNECTING = 1
const OPEN = 2
/** Open, and the answer is not complete. */
const WAITING = 4

const EVENTS = libc.EPOLLIN | libc.EPOLLOUT | libc.EPOLLRDHUP | libc.EPOLLET

export class Client implements Watcher {
  /** Connect times: from the call to its completion. */
  readonly latency = new LatencyHistogram()

  readonly #options: ClientOptions
  readonly #target: SocketAddress
  readonly #reactor = reactor()
  readonly #owner: number
  readonly #sources: SocketAddress[]
  /** Sources are chosen here, as ports run out. */
  readonly #automatic: boolean
  #source: SocketAddress | undefined
  #sourceNumber = 0
  /** Connects that may yet begin at this source before the next one is taken. */
  #sourceRoom = Number.POSITIVE_INFINITY
  readonly #buffer = Buffer.allocUnsafeSlow(READ)
  readonly #bufferAt = libc.addressOf(this.#buffer)

  // By descriptor: when its connect, then its wait for an answer, began (ms); bytes sent and received of the payload.
  #since = new Float64Array(0)
  #sent = new Uint32Array(0)
  #received = new Uint32Array(0)

  #started = 0
  #stalledAt = 0
  #connecting = 0
  #waiting = 0
  #open = 0
  #opened: Opened = emptyOpened()
  #lost: Causes = {}
  #wake: (() => void) | undefined

  constructor(options: ClientOptions) {
    this.#options = options
    this.#target = new SocketAddress(options.address)
    this.#sources = options.sources.map((host) => new SocketAddress({ host, port: 0 }))
    this.#automatic = this.#sources.length === 0 && 'host' in options.address && options.address.host.startsWith('127.')
    this.#owner = this.#reactor.register(this)
  }

  /** Connections that are open now. */
  get open(): number {
    return this.#open
  }

  /** Connects of this `connect()` that have failed so far. */
  get failed(): number {
    return total(this.#opened.failed)
  }

  /** Connections that the server closed first since the last {@link takeLost}. */
  takeLost(): Causes {
    const lost = this.#lost
    this.#lost = {}
    return lost
  }

  /** Connects `n` times; resolves when each is open (and answered, where that is awaited) or has failed. */
  async connect(n: number, signal?: AbortSignal): Promise<Opened> {
    const { rate } = this.#options
    const opened = emptyOpened()
    this.#opened = opened
    this.#started = 0
    if (this.#automatic) this.#useSource(this.#options.part.index)
    const start = performance.now()
    const timer = setInterval(() => this.#expire(), LOOK)
    this.#reactor.ref()
    try {
      while (this.#started < n && signal?.aborted !== true) {
        const due = rate === Number.POSITIVE_INFINITY ? n : Math.floor((rate * (performance.now() - start)) / 1000) + 1
        const room = Math.min(BURST, Math.min(due, n) - this.#started, WINDOW - this.#connecting)
        const begun = this.#beginSome(room)
        if (begun < room) await this.#progress(LOOK / 10, signal)
        else if (room === BURST) await turn()
        else if (this.#started < n)
          await this.#progress(this.#connecting < WINDOW ? Math.min(1000 / rate, LONGEST_WAIT) : undefined, signal)
      }
      while (this.#connecting > 0 && signal?.aborted !== true) await this.#progress(undefined, signal)
      opened.ms = performance.now() - start
      while (this.#waiting > 0 && signal?.aborted !== true) await this.#progress(undefined, signal)
      if (signal?.aborted) {
        opened.abandoned = n - this.#started + this.#connecting
        this.#abandon()
      }
    } finally {
      clearInterval(timer)
      this.#reactor.unref()
    }
    return opened
  }

  /** Closes every connection, those that are connecting too, or `most` of them. The event loop has its turns meanwhile. */
  async close(most = Number.POSITIVE_INFINITY): Promise<void> {
    let closed = 0
    for (let fd = this.#next(-1); fd !== -1 && closed < most; fd = this.#next(fd)) {
      this.#discard(fd)
      if (++closed % CLOSE_BURST === 0) await turn()
    }
  }

  /** Frees what is held beside the connections; after `close()`. */
  dispose(): void {
    this.#reactor.unregister(this.#owner)
  }

  /** @internal Called by the reactor. */
  ready(fd: number, events: number): void {
    if (this.#reactor.state[fd] === CONNECTING) {
      if ((events & (libc.EPOLLERR | libc.EPOLLHUP)) !== 0) this.#connectFailed(fd, takeError(fd) || libc.E.ECONNRESET)
      else if ((events & libc.EPOLLOUT) !== 0) this.#connected(fd)
      else return
      if (this.#reactor.serial[fd] === 0) return
    }
    if (this.#reactor.state[fd] === WAITING && (events & libc.EPOLLOUT) !== 0) this.#send(fd)
    if ((events & ~libc.EPOLLOUT) !== 0) this.#receive(fd)
  }

  /** Waits for something to change, or `ms`. */
  #progress(ms: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        this.#wake = undefined
        resolve()
      }
      if (ms !== undefined) timer = setTimeout(done, ms)
      signal?.addEventListener('abort', done)
      this.#wake = done
    })
  }

  /**
   * Begins up to `most` connects; fewer when the server's queue is full (a Unix socket says so at once, TCP never does), or when they
   * take long: where most ports are used, the kernel searches for milliseconds, and others want to have their turn.
   */
  #beginSome(most: number): number {
    const start = performance.now()
    for (let i = 0; i < most; i++) {
      if (i > 0 && performance.now() - start > LONGEST_BURST) return i
      const errno = this.#begin(this.#started)
      if (errno === libc.E.EAGAIN && !this.#stalledTooLong()) return i
      if (errno === libc.E.EADDRNOTAVAIL && this.#nextSource()) {
        i--
        continue
      }
      this.#started++
      this.#stalledAt = 0
      if (errno !== 0) count(this.#opened.failed, errorName(errno))
    }
    return most
  }

  #stalledTooLong(): boolean {
    const now = performance.now()
    this.#stalledAt ||= now
    return now - this.#stalledAt > this.#options.timeout
  }

  /** Begins the connect number `index`. 0 or an errno; then nothing is left of it. */
  #begin(index: number): number {
    if (this.#sourceRoom-- <= 0) this.#nextSource()
    const type = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
    const fd = libc.socket(this.#target.family, type, 0)
    if (fd === -1) return libc.errno()
    this.#reserve(fd)
    this.#since[fd] = performance.now()
    const errno = this.#bindSource(fd, index) || this.#connectOnce(fd) || this.#reactor.add(fd, EVENTS, this.#owner)
    if (errno !== 0) {
      libc.close(fd)
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

  /** 0 or an errno. Binding to port 0 would take a port for this socket alone: the option leaves it to the connect. */
  #bindSource(fd: number, index: number): number {
    const source = this.#automatic ? this.#source : this.#sources[index % this.#sources.length]
    if (source === undefined) return 0
    setOption(fd, libc.IPPROTO_IP, libc.IP_BIND_ADDRESS_NO_PORT, 1)
    return libc.bindAddress(fd, source.pointer, source.length) === -1 ? libc.errno() : 0
  }

  #connectOnce(fd: number): number {
    if (libc.connect(fd, this.#target.pointer, this.#target.length) !== -1) return 0
    const errno = libc.errno()
    return errno === libc.E.EINPROGRESS || errno === libc.E.EINTR ? 0 : errno
  }

  /** All 127.0.0.0/8 is loopback, and each address of it has ports of its own to the server. False: no more. */
  #nextSource(): boolean {
    const next = this.#sourceNumber + this.#options.part.of
    if (!this.#automatic || next > MOST_SOURCES) return false
    this.#useSource(next)
    return true
  }

  #useSource(number: number): void {
    this.#sourceNumber = number
    this.#sourceRoom = FOUND_AT_ONCE * localPorts()
    const host = `127.0.${(number + 1) >> 8}.${(number + 1) & 255}`
    // The first is the kernel's own choice, and costs no call.
    this.#source = number === 0 ? undefined : new SocketAddress({ host, port: 0 })
  }

  #isActive(index: number): boolean {
    const { active, payload } = this.#options
    return payload !== null && due(index + 1, active) > due(index, active)
  }

  #connected(fd: number): void {
    this.#connecting--
    this.#opened.connected++
    this.#open++
    this.latency.record(performance.now() - (this.#since[fd] as number))
    this.#reactor.state[fd] = OPEN
    const { payload } = this.#options
    if (payload !== null && (this.#sent[fd] as number) < payload.length) {
      this.#reactor.state[fd] = WAITING
      this.#since[fd] = performance.now()
      this.#waiting++
    }
    this.#wake?.()
  }

  #connectFailed(fd: number, errno: number): void {
    this.#connecting--
    this.#reactor.close(fd)
    count(this.#opened.failed, errorName(errno))
    this.#wake?.()
  }

  #send(fd: number): void {
    const payload = this.#options.payload as Uint8Array
    let sent = this.#sent[fd] as number
    while (sent < payload.length) {
      const rest = payload.subarray(sent)
      const taken = libc.sendBuffer(fd, rest, rest.length, libc.MSG_NOSIGNAL)
      if (taken === -1) {
        const errno = libc.errno()
        if (errno === libc.E.EINTR) continue
        // Broken: reading says why. Full: an edge comes when there is room.
        break
      }
      sent += taken
    }
    this.#sent[fd] = sent
    if (sent === payload.length && !this.#options.expectEcho) this.#answered(fd)
  }

  /** Reads all that is there: edges are told once, unless they are asked for again. */
  #receive(fd: number): void {
    for (let reads = 0; ; reads++) {
      if (reads === READ_BURST) {
        this.#reactor.modify(fd, EVENTS)
        return
      }
      const received = libc.recv(fd, this.#bufferAt, READ, 0)
      if (received > 0) {
        if (this.#reactor.state[fd] === WAITING) this.#check(fd, received)
        continue
      }
      const errno = received === 0 ? 0 : libc.errno()
      if (errno === libc.E.EINTR) continue
      if (errno === libc.E.EAGAIN) return
      this.#serverClosed(fd, received === 0 ? 'FIN' : errorName(errno))
      return
    }
  }

  /** Compares an answer with what was sent. */
  #check(fd: number, length: number): void {
    const payload = this.#options.payload as Uint8Array
    const from = this.#received[fd] as number
    const to = from + length
    this.#received[fd] = to
    const same = to <= payload.length && this.#buffer.compare(payload, from, to, 0, length) === 0
    if (!same) this.#unanswered(fd, 'MISMATCH')
    else if (to === payload.length) {
      this.#opened.echoed++
      this.#answered(fd)
    }
  }

  #answered(fd: number): void {
    this.#reactor.state[fd] = OPEN
    this.#waiting--
    this.#wake?.()
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

  /** Gives up what is still connecting, and waits for no answer any more: nothing comes to be after `connect()` has told. */
  #abandon(): void {
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
    if (this.#options.close === 'rst') setOption(fd, libc.SOL_SOCKET, libc.SO_LINGER, 1, 0)
    this.#reactor.close(fd)
  }

  /** One look at all connections, in place of a timer for each. */
  #expire(): void {
    const limit = performance.now() - this.#options.timeout
    for (let fd = this.#next(-1); fd !== -1; fd = this.#next(fd)) {
      if ((this.#since[fd] as number) > limit) continue
      if (this.#reactor.state[fd] === CONNECTING) this.#connectFailed(fd, libc.E.ETIMEDOUT)
      else if (this.#reactor.state[fd] === WAITING) this.#unanswered(fd, 'TIMEOUT')
    }
  }

  #next(fd: number): number {
    return this.#reactor.next(this.#owner, fd)
  }

  #reserve(fd: number): void {
    if (fd < this.#since.length) return
    const size = grown(this.#since.length, fd + 1)
    this.#since = resized(this.#since, new Float64Array(size))
    if (this.#options.payload === null) return
    this.#sent = resized(this.#sent, new Uint32Array(size))
    this.#received = resized(this.#received, new Uint32Array(size))
  }
}

/** How many ports the kernel chooses from for an outgoing connection. */
export function localPorts(): number {
  try {
    const [first = 0, last = 0] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1')
      .split('\t')
      .map(Number)
    return last - first + 1
  } catch {
    // Hidden in some containers: the kernel's default.
    return 28_232
  }
}

/** How many of the first `n` are active. A share such as 0.58 is a little less in binary: 50 of them are 29 all the same. */
function due(n: number, share: number): number {
  return Math.floor(n * share + 1e-9 * n)
}

/** Nothing yet. */
export function emptyOpened(): Opened {
  return { connected: 0, failed: {}, abandoned: 0, echoed: 0, unanswered: {}, ms: 0 }
}

/** Adds what one part of a crowd did to what all did: parts connect at the same time. */
export function addOpened(to: Opened, from: Opened): void {
  to.connected += from.connected
  to.abandoned += from.abandoned
  to.echoed += from.echoed
  to.ms = Math.max(to.ms, from.ms)
  addCauses(to.failed, from.failed)
  addCauses(to.unanswered, from.unanswered)
}

/** Counts one more, or `by`, of a cause. A cause of nothing is not counted. */
export function count(causes: Causes, cause: string, by = 1): void {
  if (by > 0) causes[cause] = (causes[cause] ?? 0) + by
}

/** The sum over all causes. */
export function total(causes: Causes): number {
  return Object.values(causes).reduce((sum, n) => sum + n, 0)
}

/** Adds `from` to `to`. */
export function addCauses(to: Causes, from: Causes): void {
  for (const [cause, n] of Object.entries(from)) count(to, cause, n)
}
