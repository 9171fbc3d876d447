/** A client that plays one case of the Autobahn test suite: it writes exact bytes, and checks what the server does. */
import { createHash } from 'node:crypto'
import net, { type Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import * as ws from 'ws'
import type { EchoServer } from './servers.js'

const { Receiver } = ws as unknown as { Receiver: new (options: object) => Writable }

/** Close codes. */
export const NORMAL = 1000
export const PROTOCOL_ERROR = 1002
export const INVALID_PAYLOAD = 1007
/** A close frame without a code. */
export const NO_CODE = 1005

/** What the client does. */
export type Step =
  /** Writes bytes, in pieces of `chop` bytes. */
  | { name: 'write'; bytes: Buffer; chop: number }
  /** Waits a while. The server has then read everything, and parks the connection if it can. */
  | { name: 'wait' }

/** A case of the test suite. */
export interface Case {
  /** Number of the case, for example '1.1.1'. */
  id: string
  what: string
  /** Made when the case is played: some payloads are long. */
  steps: () => Step[]
  /** Messages and pongs that the client expects, from {@link described}. */
  events: () => string[]
  /**
   * Who closes the connection: the client with code 1000, as soon as it has all events; the client, in its steps; or
   * the server, because the client has broken the protocol.
   */
  closes: 'client' | 'client, in its steps' | 'server'
  /** Code of the server's close frame. */
  code: number
}

/** What a server did in a case. */
export interface Outcome {
  events: string[]
  /** Code of the server's close frame; undefined: there was none. */
  code: number | undefined
  /** Whether the server has closed the connection with a FIN, and nothing followed its close frame. */
  clean: boolean
}

/** How long an event may be that is shown as it is. */
const SHORT = 40

/** Describes a message or a pong. */
export function described(kind: 'text' | 'binary' | 'pong', payload: Buffer | string): string {
  const bytes = Buffer.from(payload as string)
  const short = bytes.length <= SHORT
  return `${kind} ${bytes.length} ${short ? bytes.toString('latin1') : createHash('sha1').update(bytes).digest('hex')}`
}

/** Number of turns of the event loop that a {@link Step} of kind `wait` takes. */
const TURNS = 10

const REQUEST = [
  'GET / HTTP/1.1',
  'Host: localhost',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13'
]

/** A connection to a server. */
export class Fuzzer {
  readonly outcome: Outcome = { events: [], code: undefined, clean: false }
  /** Called for each message and pong. */
  onEvent: () => void = () => {}
  /** Called for each message. */
  onMessage: (payload: Buffer, binary: boolean) => void = () => {}
  /** Resolves when the server has closed the connection. */
  readonly closed: Promise<void>

  readonly #socket: Socket
  #receiver: Writable | undefined
  #response = ''
  /** Whether the server has sent something wrong. */
  #failed = false

  private constructor(port: number, optionsOf: (extensions: string) => object) {
    this.#socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.closed = new Promise((resolve) => {
      this.#socket.on('end', () => {
        this.outcome.clean = this.outcome.code !== undefined && !this.#failed
        this.#socket.end()
        resolve()
      })
      this.#socket.on('error', () => resolve())
      this.#socket.on('close', () => resolve())
    })
    this.#socket.on('data', (bytes: Buffer) => {
      if (this.#receiver === undefined) this.#onResponse(bytes, optionsOf)
      else this.#receiver.write(bytes)
    })
  }

  #opened: () => void = () => {}

  #onResponse(bytes: Buffer, optionsOf: (extensions: string) => object): void {
    this.#response += bytes.toString('latin1')
    const end = this.#response.indexOf('\r\n\r\n')
    if (end === -1) return
    const extensions = /^sec-websocket-extensions: (.*)$/im.exec(this.#response.slice(0, end))?.[1] ?? ''
    this.#receiver = this.#receive(optionsOf(extensions.trim()))
    this.#opened()
    const rest = Buffer.from(this.#response.slice(end + 4), 'latin1')
    if (rest.length > 0) this.#receiver.write(rest)
  }

  /**
   * Connects to a server.
   *
   * @param headers of the request
   * @param optionsOf returns options for `Receiver` of `ws`. @param extensions that the server has accepted
   */
  static async connect(
    port: number,
    headers: string[] = [],
    optionsOf: (extensions: string) => object = () => ({})
  ): Promise<Fuzzer> {
    const client = new Fuzzer(port, optionsOf)
    const opened = new Promise<void>((resolve) => {
      client.#opened = resolve
    })
    client.#socket.write(`${[...REQUEST, ...headers].join('\r\n')}\r\n\r\n`)
    await opened
    return client
  }

  /** Uses the receiver of `ws` for the frames of the server: it knows all rules that they have to keep. */
  #receive(options: object): Writable {
    const receiver = new Receiver(options)
    const { events } = this.outcome
    receiver.on('message', (payload: Buffer, binary: boolean) => {
      events.push(described(binary ? 'binary' : 'text', payload))
      this.onEvent()
      this.onMessage(payload, binary)
    })
    receiver.on('pong', (payload: Buffer) => {
      events.push(described('pong', payload))
      this.onEvent()
    })
    receiver.on('ping', () => events.push('ping'))
    receiver.on('conclude', (code: number) => {
      this.outcome.code = code
    })
    // Also for bytes after a close frame.
    receiver.on('error', (error) => {
      events.push(`error: ${error.message}`)
      this.#failed = true
    })
    return receiver
  }

  /** Writes bytes. @param chop size of the pieces; the server reads each one by itself */
  async write(bytes: Buffer, chop = bytes.length): Promise<void> {
    if (chop >= bytes.length) {
      this.#socket.write(bytes)
      return
    }
    for (let at = 0; at < bytes.length && !this.#socket.destroyed; at += chop) {
      this.#socket.write(bytes.subarray(at, at + chop))
      await turn()
    }
  }

  async play(steps: Step[]): Promise<void> {
    for (const step of steps) {
      if (step.name === 'write') await this.write(step.bytes, step.chop)
      else for (let turns = 0; turns < TURNS; turns++) await turn()
    }
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/** Plays a case. @returns what the server did */
export async function play({ steps, events, closes }: Case, server: EchoServer): Promise<Outcome> {
  const client = await Fuzzer.connect(server.port)
  await server.settled()
  const count = events().length
  const finish = (): void => {
    if (closes === 'client' && client.outcome.events.length === count) void client.write(closeFrame(NORMAL))
  }
  client.onEvent = finish
  await client.play(steps())
  if (count === 0) finish()
  await client.closed
  client.destroy()
  return client.outcome
}

/** A frame as a client sends it. */
export interface Frame {
  opcode: number
  payload?: Buffer | string | undefined
  fin?: boolean
  /** RSV1 is 4, RSV2 is 2, RSV3 is 1. */
  rsv?: number
}

let frames = 0

/** Returns a frame. Each has another mask; one in eight the mask 0. */
export function frame({ opcode, payload = '', fin = true, rsv = 0 }: Frame): Buffer {
  const bytes = Buffer.from(payload as string)
  const { length } = bytes
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8
  const number = ++frames
  const mask = [3, 5, 7, 11].map((factor) => (number & 7) * factor * 29 + (number >> 3))
  const result = Buffer.alloc(6 + extra + length)
  result[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  result[1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127)
  if (extra === 2) result.writeUInt16BE(length, 2)
  else if (extra === 8) result.writeBigUInt64BE(BigInt(length), 2)
  for (let i = 0; i < 4; i++) result[2 + extra + i] = (number & 7) === 0 ? 0 : (mask[i] as number)
  for (let i = 0; i < length; i++) {
    result[6 + extra + i] = (bytes[i] as number) ^ (result[2 + extra + (i & 3)] as number)
  }
  return result
}

/** Returns a close frame. @param code undefined: without a payload */
export function closeFrame(code?: number, reason: Buffer | string = ''): Buffer {
  if (code === undefined) return frame({ opcode: 8 })
  return frame({ opcode: 8, payload: Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]) })
}
