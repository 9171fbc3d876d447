/** Plays a scenario with plain Node and with `park()`, and compares what clients and server observed. */
import http from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { type Parked, type ParkOptions, type ParkStats, park, release } from 'ebb'
import { expect, onTestFinished, test } from 'vitest'
import { descriptors, quiet, until } from './sockets.js'

/** Idle timeout in ms: short, so that tests are short, but longer than a few turns of the event loop. */
export const IDLE = 25

/**
 * State of a connection at the start of a scenario: no byte sent yet, parked after a request, or awake after a request.
 */
export type From = 'fresh' | 'parked' | 'awake'

/**
 * Logs an event. With a socket, it goes to the log of that connection, because events of two connections have no order.
 */
export type See = (event: string, socket?: Socket) => void

/** A server, its application, and what its clients do. */
export interface Scenario {
  /** Options of `http.createServer`. */
  options?: http.ServerOptions
  /** Creates the server. Default: `http.createServer(options)`. */
  create?: () => http.Server
  /** Connects a client. Default: plain TCP. */
  connect?: (port: number) => Socket
  /** Options of `park()`. */
  park?: ParkOptions
  /** Sets up the application: listeners and limits. Runs before `park()` and before the server listens. */
  serve: (server: http.Server, see: See) => void
  /** Plays the clients. */
  play: (stage: Stage) => Promise<void>
  /** State of connections that `stage.connect()` opens. Default: `fresh`. */
  from?: From
  /** Checks the observations of plain Node, for a scenario that would also pass without any. */
  check?: (seen: Seen) => void
  /** Minimum duration in ms of what `stage.time()` measures. Both servers must take about as long. */
  lasts?: number
  /** Selects the observations to compare, if some of them are random. */
  compared?: (seen: Seen) => Seen
  /** Turns the observations of plain Node into those that `park()` must have, if they differ by design. */
  design?: (plain: Seen) => Seen
}

/** Observations of a scenario. */
export interface Seen {
  /** What each client received and how its connection ended, in the order of their connects. */
  clients: { received: string; ended: 'FIN' | 'RST' | undefined }[]
  /** Events of the server as a whole. */
  server: string[]
  /** Events of each connection, in the order of `clients`. */
  connections: string[][]
}

/** Registers a test that plays `scenario` with plain Node and with `park()`. */
export function parity(name: string, scenario: Scenario): void {
  test(name, async () => {
    const { check, compared = same, design = same } = scenario
    const [plain, parked] = await both(scenario)
    check?.(plain)
    expect(compared(parked)).toEqual(design(compared(plain)))
  })
}

function same(seen: Seen): Seen {
  return seen
}

/** Plays a scenario with both servers at the same time, because most of it is waiting. */
async function both(scenario: Scenario): Promise<[plain: Seen, parked: Seen]> {
  await warm()
  for (let tries = 3; ; tries--) {
    const before = descriptors()
    const took: [plain: number, parked: number] = [0, 0]
    const seen = await Promise.all([perform(scenario, false, took), perform(scenario, true, took)])
    // No descriptor is left, and no descriptor of others was closed.
    await until(() => descriptors() <= before)
    expect(descriptors()).toBe(before)
    try {
      if (scenario.lasts !== undefined) expectTimes(scenario.lasts, took)
      return seen
    } catch (error) {
      // On a busy machine, one server may be delayed by chance. Tries up to three times.
      if (tries === 1) throw error
    }
  }
}

function expectTimes(least: number, [plain, parked]: [plain: number, parked: number]): void {
  // The client may start its measurement later than the server's timer on a busy machine.
  expect(plain).toBeGreaterThan(0.7 * least)
  expect(parked).toBeGreaterThan(0.7 * least)
  // Parked connections must not end much earlier than plain ones, because clients rely on it. Nor must they end much
  // later.
  expect(parked).toBeGreaterThan(0.8 * plain)
  expect(parked).toBeLessThan(3 * plain)
}

let isWarm = false

/**
 * Opens the descriptors that ebb keeps for the life of the process: for epoll, and for its own memory. A test that
 * counts descriptors calls this first.
 */
export async function warm(): Promise<void> {
  if (isWarm) return
  isWarm = true
  await release()
  const server = park(http.createServer())
  await new Promise<void>((resolve) => server.listen(0, resolve))
  await new Promise((resolve) => server.close(resolve))
}

/** Registers three tests, one for each state of the connection. */
export function parityFromEach(name: string, scenario: Scenario): void {
  for (const from of ['fresh', 'parked', 'awake'] as const) parity(`${name} (${from})`, { ...scenario, from })
}

/** Returns whether `close()` of plain Node also closes connections that have not sent a byte. Newer versions do. */
export async function closesSilent(): Promise<boolean> {
  const server = http.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const connected = new Promise((resolve) => server.once('connection', resolve))
  const socket = tcp((server.address() as AddressInfo).port).on('error', () => {})
  await connected
  const closed = new Promise<boolean>((resolve) => server.close(() => resolve(true)))
  const silent = await Promise.race([closed, pause(100).then(() => false)])
  socket.destroy()
  await closed
  return silent
}

/** Plays a scenario with one server. */
async function perform(scenario: Scenario, parked: boolean, took: [number, number]): Promise<Seen> {
  const stage = new Stage(scenario, parked)
  onTestFinished(() => stage.abandon())
  await stage.listen()
  await scenario.play(stage)
  took[parked ? 1 : 0] = stage.took
  return await stage.close()
}

/** A server and its clients. */
export class Stage {
  readonly server: http.Server
  readonly clients: Client[] = []
  took = 0
  readonly #scenario: Scenario
  readonly #park: Parked | undefined
  readonly #log: string[] = []
  readonly #logs = new Map<number, string[]>()
  readonly #ports = new WeakMap<Socket, number>()
  readonly #sockets = new Set<Socket>()
  #closed = Promise.resolve()
  #port = 0

  constructor(scenario: Scenario, parked: boolean) {
    this.#scenario = scenario
    const server = scenario.create?.() ?? http.createServer(scenario.options ?? {})
    this.server = server
    const see: See = (event, socket) => this.#see(event, socket)
    server.on('connection', (socket: Socket) => {
      this.#portOf(socket)
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    server.on('secureConnection', (socket: Socket) => this.#portOf(socket))
    observe(server, see)
    scenario.serve(server, see)
    if (parked) {
      this.#park = park(server, { idle: IDLE, ...scenario.park })
      expect(this.#park).toBe(server)
      expect(this.#park.supported).toBe(true)
    }
  }

  /** Whether the server is parked. */
  get parked(): boolean {
    return this.#park !== undefined
  }

  /** Port on which the server listens, or has listened. */
  get port(): number {
    return this.#port
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen(0, '127.0.0.1', () => {
        this.server.off('error', reject)
        this.#closed = new Promise((resolve) => this.server.once('close', resolve))
        this.#port = (this.server.address() as AddressInfo).port
        resolve()
      })
    })
  }

  /** Connects a client and brings its connection into the state `from`. */
  async connect(from: From = this.#scenario.from ?? 'fresh'): Promise<Client> {
    const client = await this.open()
    if (from === 'fresh') return client
    void client.send('GET /warm HTTP/1.1\r\nHost: x\r\n\r\n')
    await client.response()
    if (from === 'parked') await this.untilParked(this.clients.length)
    return client
  }

  /** Connects a client that has sent nothing. It is half-open, so the scenario ends it. */
  async open(): Promise<Client> {
    const client = new Client(this.#scenario.connect?.(this.port) ?? tcp(this.port))
    await client.connected
    this.clients.push(client)
    return client
  }

  /** Connects a plain TCP client, without the scenario's `connect`. */
  async openTcp(): Promise<Client> {
    const client = new Client(tcp(this.port))
    await client.connected
    this.clients.push(client)
    return client
  }

  /**
   * Waits until `count` connections are parked and none is awake. With plain Node, waits for as long as that would
   * take.
   */
  async untilParked(count = 1): Promise<void> {
    const parked = this.#park
    if (parked === undefined) {
      await pause(2 * IDLE)
      return
    }
    await until(() => parked.stats().parked === count && parked.stats().awake === 0)
  }

  /** Waits until `check` accepts the statistics. Returns at once with plain Node. */
  async stats(check: (stats: ParkStats) => boolean): Promise<void> {
    const parked = this.#park
    if (parked !== undefined) await until(() => check(parked.stats()))
  }

  /** Waits until `check` accepts the events of all connections. */
  async until(check: (events: readonly string[]) => boolean): Promise<void> {
    await until(() => check([...this.#logs.values()].flat()))
  }

  /** Measures the duration of a task. */
  async time(task: () => Promise<unknown>): Promise<void> {
    const start = performance.now()
    await task()
    this.took = performance.now() - start
  }

  /** Returns the result of `getConnections()`. */
  connections(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))
    })
  }

  /** Waits until `getConnections()` returns `count`. */
  async have(count: number): Promise<void> {
    while ((await this.connections()) !== count) await pause(2)
  }

  /** Resolves when the server has emitted 'close'. */
  get closed(): Promise<void> {
    return this.#closed
  }

  /** Waits for bytes in flight, closes everything, and returns the observations. */
  async close(): Promise<Seen> {
    await quiet()
    const clients = this.clients.map(({ received, ended }) => ({ received: normal(received), ended }))
    for (const { socket } of this.clients) socket.destroy()
    if (this.server.listening) this.server.close()
    await this.#closed
    // The last socket emits 'close' after the server, and its requests emit 'close' after that.
    await until(() => this.#sockets.size === 0)
    await turn()
    if (this.#park !== undefined) {
      const { parked, awake, accepted, dropped, closed } = this.#park.stats()
      const gone = Object.values(closed).reduce((sum, count) => sum + count, 0)
      expect({ parked, awake, gone: gone + dropped }).toEqual({ parked: 0, awake: 0, gone: accepted + dropped })
    }
    const ports = this.clients.map(({ port }) => port)
    return { clients, server: this.#log, connections: ports.map((port) => this.#logs.get(port) ?? []) }
  }

  /** Closes everything after a failure, so that the next test is not disturbed. */
  abandon(): void {
    for (const { socket } of this.clients) socket.destroy()
    if (this.server.listening) this.server.close()
    this.server.closeAllConnections()
  }

  #see(event: string, socket: Socket | undefined): void {
    const port = socket === undefined ? undefined : this.#portOf(socket)
    if (port === undefined) this.#log.push(event)
    else this.#logs.set(port, [...(this.#logs.get(port) ?? []), event])
  }

  /** Returns the port of a client. It is remembered, because a destroyed socket does not know it. */
  #portOf(socket: Socket): number | undefined {
    const port = this.#ports.get(socket) ?? socket.remotePort
    if (port !== undefined) this.#ports.set(socket, port)
    return port
  }
}

/** Connects a half-open socket, so that the scenario ends it. */
function tcp(port: number): Socket {
  return net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
}

/**
 * Logs the events of every server. Listeners that change its behaviour ('clientError', 'timeout') are left to
 * scenarios.
 */
function observe(server: http.Server, see: See): void {
  server.on('request', watch)
  server.on('dropRequest', (request: http.IncomingMessage, socket: Socket) => see(`dropRequest ${request.url}`, socket))
  server.on('close', () => see('close'))

  function watch(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { socket, method, url, httpVersion, rawHeaders } = request
    const say = (event: string): void => see(`${method} ${url}: ${event}`, socket)
    say(`HTTP/${httpVersion} ${rawHeaders.join(',')}`)
    // Events of bodies are left to scenarios that read them.
    request.on('aborted', () => say('aborted'))
    request.on('error', (error: NodeJS.ErrnoException) => say(`request error ${error.code}`))
    request.on('close', () => say(`request close, ${request.complete ? 'complete' : 'incomplete'}`))
    response.on('error', (error: NodeJS.ErrnoException) => say(`response error ${error.code}`))
    response.on('finish', () => say('finish'))
    response.on('close', () => say(`response close, ${response.writableFinished ? 'finished' : 'unfinished'}`))
  }
}

export interface Response {
  status: number
  /** The head as received, without the empty line. */
  head: string
  body: string
}

/** A client that keeps every received byte. */
export class Client {
  readonly socket: Socket
  readonly connected: Promise<void>
  /** All received bytes, as latin1. */
  received = ''
  ended: 'FIN' | 'RST' | undefined
  port = 0
  #cursor = 0
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    this.connected = new Promise((resolve, reject) => {
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        this.port = socket.localPort ?? 0
        resolve()
      })
    })
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1')
      this.#wake?.()
    })
    socket.on('end', () => this.#over('FIN'))
    // An EPIPE means that a write noticed the reset.
    socket.on('error', () => this.#over('RST'))
    socket.on('close', () => this.#wake?.())
  }

  /** Sends bytes. Resolves when the kernel has them, or when they cannot be sent any longer. */
  send(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes, () => resolve())
    })
  }

  /** Sends each byte in its own turn of the event loop. */
  async dribble(bytes: string): Promise<void> {
    for (const byte of bytes) {
      await this.send(byte)
      await turn()
    }
  }

  /** Sends the last bytes and a FIN. The other direction stays open. */
  fin(bytes?: string): void {
    if (bytes === undefined) this.socket.end()
    else this.socket.end(bytes, 'latin1')
  }

  rst(): void {
    this.socket.resetAndDestroy()
  }

  /** Waits for `text`, after everything that was waited for before. Throws if the connection ends without it. */
  async reads(text: string): Promise<void> {
    const at = await this.#find(() => {
      const start = this.received.indexOf(text, this.#cursor)
      return start === -1 ? undefined : start + text.length
    }, text)
    this.#cursor = at
  }

  /** Waits for the next `length` bytes. */
  async take(length: number): Promise<string> {
    const start = this.#cursor
    const end = start + length
    this.#cursor = await this.#find(() => (this.received.length >= end ? end : undefined), `${length} bytes`)
    return this.received.slice(start, end)
  }

  /** Waits for a complete response. `bodiless`: the response to a HEAD. Interim responses (1xx) count as responses. */
  async response({ bodiless = false } = {}): Promise<Response> {
    const from = this.#cursor
    const headEnd = await this.#find(() => {
      const end = this.received.indexOf('\r\n\r\n', from)
      return end === -1 ? undefined : end
    }, 'the end of a head')
    const head = this.received.slice(from, headEnd)
    const status = Number(/^HTTP\/1\.[01] (\d+)/.exec(head)?.[1])
    const start = headEnd + 4
    let at = start
    const end = await this.#find(() => {
      if (bodiless || status < 200 || status === 204 || status === 304) return start
      const length = /^content-length: (\d+)$/im.exec(head)?.[1]
      if (length !== undefined) {
        return this.received.length >= start + Number(length) ? start + Number(length) : undefined
      }
      if (/^transfer-encoding: chunked$/im.test(head)) {
        at = this.#lastChunk(at)
        return this.received.startsWith('0\r\n', at) ? this.#trailersEnd(at + 3) : undefined
      }
      return this.ended === undefined ? undefined : this.received.length
    }, 'the end of a body')
    this.#cursor = end
    return { status, head, body: this.received.slice(start, end) }
  }

  /** Sends a request and waits for its response. */
  async get(path: string, headers = ''): Promise<Response> {
    void this.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`)
    return await this.response()
  }

  /** Waits until the connection has ended, and returns how. */
  async over(): Promise<'FIN' | 'RST'> {
    for (;;) {
      if (this.ended !== undefined) return this.ended
      if (this.socket.destroyed) throw new Error('the client was destroyed by its own side')
      await this.#news()
    }
  }

  /** Skips complete chunks from position `at`. Returns the position of the last chunk that has begun to arrive. */
  #lastChunk(at: number): number {
    for (;;) {
      // Returns early, because a large chunk arrives in many parts.
      if (at >= this.received.length) return at
      const line = this.received.indexOf('\r\n', at)
      const size = line === -1 ? 0 : Number.parseInt(this.received.slice(at, line), 16)
      if (size === 0) return at
      at = line + 2 + size + 2
    }
  }

  /** Returns where the trailers that begin at `at` end, or undefined. */
  #trailersEnd(at: number): number | undefined {
    if (this.received.startsWith('\r\n', at)) return at + 2
    const end = this.received.indexOf('\r\n\r\n', at)
    return end === -1 ? undefined : end + 4
  }

  async #find(look: () => number | undefined, what: string): Promise<number> {
    for (;;) {
      const found = look()
      if (found !== undefined) return found
      if (this.ended !== undefined || this.socket.destroyed) {
        throw new Error(`ended (${this.ended}) without ${JSON.stringify(what)}:\n${this.received.slice(this.#cursor)}`)
      }
      await this.#news()
    }
  }

  #news(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  #over(how: 'FIN' | 'RST'): void {
    this.ended ??= how
    this.#wake?.()
  }
}

/** Replaces what differs from one run to the next. */
function normal(received: string): string {
  return received.replace(/^Date: .*\r$/gm, 'Date: -\r')
}

/** Waits longer than the idle timeout. */
export function silence(): Promise<void> {
  return pause(4 * IDLE)
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Waits for a turn of the event loop. What was written before it can be read after it. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Returns a request without a body. `headers` consists of complete lines. */
export function GET(path: string, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`
}

/** Answers each request with its path. */
export function echoPath(server: http.Server): void {
  server.on('request', (request, response) => response.end(`[${request.url}]`))
}

/** Answers each request with its body, and logs its trailers. */
export function echoBody(server: http.Server, see: See): void {
  server.on('request', async (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      see(`end ${request.rawTrailers}`, request.socket)
      response.end(`[${Buffer.concat(chunks)}]`)
    })
  })
}

/** Returns bytes with a long period. */
export function pattern(length: number): Buffer {
  const unit = Buffer.from(Array.from({ length: 9973 }, (_, i) => 33 + ((i * i) % 90)))
  return Buffer.alloc(length, unit)
}
