/** A server of WebSockets right on the core, and a client that sends raw bytes. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { CLOSE, frameOf, TEXT } from '../frames.js'
import type { WakeReason, WebSocketHandlers, Woken } from '../handlers.js'
import { webSocketsOf } from '../of-server.js'
import type { WebSockets } from '../web-sockets.js'
import { type Event, EventLog } from './event-log.js'

/** Handlers that note what they are called with. */
export interface Recorder extends WebSocketHandlers {
  events: Event[]
  /** Resolves when there are at least `count` events of this name. */
  seen: EventLog['seen']
}

/** Makes handlers without `wakes`, or with it. Each handler can be replaced. */
export function recorder(core: () => WebSockets, changes: Partial<WebSocketHandlers> = {}): Recorder {
  const { events, note, seen } = new EventLog()
  const text = (bytes: Buffer, start: number, end: number): string => bytes.toString('latin1', start, end)
  return {
    rules: { masked: true, allowRsv1: false, maxPayload: 0 },
    anyText: false,
    answersPings: true,
    closeTimeout: 30_000,
    idle: 20,
    wakes: false,
    onMessage: (_row, bytes, start, end, binary) => note(binary ? 'binary' : 'text', text(bytes, start, end)),
    onPing: (_row, bytes, start, end) => note('ping', text(bytes, start, end)),
    onPong: (_row, bytes, start, end) => note('pong', text(bytes, start, end)),
    onDrain: () => note('drain'),
    onTimer: () => note('timer'),
    onClosing: (_row, code, reason) => note('closing', code, String(reason)),
    onFault: (_row, { closeCode, reason }) => note('fault', closeCode, reason),
    onClosed: (_row, code, reason, cause) => note('closed', code, String(reason), cause),
    onWake(row: number, reason: WakeReason) {
      const woken = core().wake(row) as Woken
      note('woken', core().id(row))
      note('wake', reason, woken.head.toString('latin1'))
      woken.socket.on('error', () => {})
      woken.socket.on('end', () => woken.socket.end())
      woken.socket.on('data', (bytes: Buffer) => note('data', bytes.toString('latin1')))
    },
    mayPark: () => true,
    onParked: (_row, socket) => {
      socket.removeAllListeners('data')
      if (changes.wakes === true) note('parked')
    },
    ...changes,
    events,
    seen
  }
}

/** A running server. */
export interface Server {
  server: http.Server
  port: number
  core(): WebSockets
  handlers: Recorder
  /** Rows of the open connections, oldest first. */
  rows: number[]
  /** Opens a connection. Resolves when both sides have it. */
  connect(): Promise<Client>
  close(): Promise<void>
}

/** Starts a server. @param server that is used, for example a parked one */
export async function serve(
  changes: Partial<WebSocketHandlers> = {},
  server = http.createServer(),
  onUpgrade?: (socket: Socket, row: number) => void
): Promise<Server> {
  const core = (): WebSockets => webSocketsOf(server) as WebSockets
  const handlers = recorder(core, changes)
  const rows: number[] = []
  let owner: number | undefined
  let opened: ((row: number) => void) | undefined
  server.on('upgrade', (request: http.IncomingMessage, socket: Socket, head: Buffer) => {
    socket.write(response(request.headers['sec-websocket-key']))
    owner ??= core().register(handlers)
    const row = core().adopt(socket, head, owner)
    rows.push(row)
    onUpgrade?.(socket, row)
    opened?.(row)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const clients: Client[] = []
  return {
    server,
    port,
    core,
    handlers,
    rows,
    async connect() {
      const open = new Promise<number>((resolve) => {
        opened = resolve
      })
      const client = await Client.connect(port)
      clients.push(client)
      client.row = await open
      return client
    },
    async close() {
      for (const client of clients) client.socket.destroy()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

function response(key: string | undefined): string {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`
}

/** The request of a {@link Client}. */
export const REQUEST =
  'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n'

/** A client that sends and receives bytes. */
export class Client {
  row = -1
  received = Buffer.alloc(0)
  ended = false
  #changed: (() => void)[] = []

  readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes])
      for (const check of this.#changed) check()
    })
    socket.on('end', () => {
      this.ended = true
      for (const check of this.#changed) check()
    })
    socket.on('error', () => {})
  }

  /** @param after sent in the same write as the request */
  static async connect(port: number, after: Buffer = Buffer.alloc(0)): Promise<Client> {
    const client = new Client(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
    client.socket.write(Buffer.concat([Buffer.from(REQUEST), after]))
    await client.until(() => client.received.includes('\r\n\r\n'))
    client.received = client.received.subarray(client.received.indexOf('\r\n\r\n') + 4)
    return client
  }

  /** Resolves when the condition is true. It is checked whenever something arrives. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve) => this.#changed.push(() => condition() && resolve()))
  }

  /** Resolves with the first `length` bytes, and takes them. */
  async take(length: number): Promise<Buffer> {
    await this.until(() => this.received.length >= length)
    const taken = this.received.subarray(0, length)
    this.received = this.received.subarray(length)
    return taken
  }

  async end(): Promise<void> {
    await this.until(() => this.ended)
  }

  send(...frames: (Buffer | string)[]): void {
    this.socket.write(Buffer.concat(frames.map((frame) => (typeof frame === 'string' ? text(frame) : frame))))
  }
}

/**
 * A frame as a client sends it.
 *
 * @param first FIN, RSV bits and opcode
 * @param form bytes of the length: 1, 3 or 9. Default: the fewest that are enough
 */
export function masked(first: number, payload: Uint8Array | string, mask = [1, 2, 3, 4], form?: 1 | 3 | 9): Buffer {
  const bytes = Buffer.from(payload as string)
  const { length } = bytes
  const size = form ?? (length < 126 ? 1 : length < 65_536 ? 3 : 9)
  const header = Buffer.alloc(1 + size)
  header[0] = first
  if (size === 1) header[1] = 0x80 | length
  else if (size === 3) {
    header[1] = 0x80 | 126
    header.writeUInt16BE(length, 2)
  } else {
    header[1] = 0x80 | 127
    header.writeBigUInt64BE(BigInt(length), 2)
  }
  for (let i = 0; i < length; i++) bytes[i] = (bytes[i] as number) ^ (mask[i & 3] as number)
  return Buffer.concat([header, Buffer.from(mask), bytes])
}

/** A text message as a client sends it. */
export function text(payload: string): Buffer {
  return masked(0x81, payload)
}

/** A close frame as a client sends it. */
export function close(code: number, reason = ''): Buffer {
  return masked(0x88, closePayload(code, reason))
}

/** A text message as a server sends it. */
export function textFrame(payload: string): Buffer {
  return frameOf(TEXT, Buffer.from(payload))
}

/** A close frame as a server sends it. */
export function closeFrame(code: number, reason = ''): Buffer {
  return frameOf(CLOSE, closePayload(code, reason))
}

function closePayload(code: number, reason: string): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)])
}
