/** Servers under `ebb run`, and clients that check every byte. */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { type Cli, type CliOptions, ebb } from './cli.js'
import { ECHO, type EchoClient, echoClients } from './handover.js'
import { freePort } from './sockets.js'

export interface SupervisedOptions extends CliOptions {
  /** Source that makes `servers` and `listen`, with two free ports in `PORTS`. Default: {@link ECHO} at the first. */
  servers?: string
  /** Options of Node. */
  node?: readonly string[]
  /** Grace of `handover()`. */
  grace?: string
}

export interface Supervised {
  cli: Cli
  /** Free ports that the server has got. */
  ports: number[]
  /** Opens connections to the first port. */
  open(count: number): Promise<EchoClient[]>
}

const AT_PORT = ECHO.replace('port: 0', 'port: PORTS[0]')

/** Starts a server under `ebb run`, and waits until it serves. */
export async function supervised(
  options: readonly string[],
  { servers = AT_PORT, node = [], grace = '10s', ...cliOptions }: SupervisedOptions = {}
): Promise<Supervised> {
  const ports = [await freePort(), await freePort()]
  const source = `
    import http from 'node:http'
    import { park } from 'ebb'
    import { createServer } from 'ebb/net'
    import { handover } from 'ebb/handover'
    const PORTS = ${JSON.stringify(ports)}
    ${servers}
    await handover(servers, { listen, grace: '${grace}' })
  `
  const command = [process.execPath, ...node, '--input-type=module', '--eval', source]
  const cli = ebb(['run', ...options, '--', ...command], cliOptions)
  await cli.said(/process \d+ is ready/)
  const ready = { event: 'ready', address: { port: ports[0] as number, address: '127.0.0.1', family: 'IPv4' } } as const
  return { cli, ports, open: (count) => echoClients(ready, count) }
}

/** The byte at a place of the stream of a client: no two neighbouring streams, or pieces of one, look alike. */
const byteAt = (seed: number, at: number): number => (Math.imul(at + 1, 2_654_435_761) ^ (seed * 40_503)) >>> 24

/** A client that sends bytes without a pause, and checks that the same bytes come back. */
export class Streamer {
  /** Bytes that have come back. */
  received = 0
  sent = 0
  /** What was wrong first. */
  fault: string | undefined
  readonly #seed: number
  readonly #socket: Socket
  readonly #piece: number
  #isOver = false

  /** @param piece bytes under way at a time */
  constructor(port: number, seed: number, piece: number) {
    this.#seed = seed
    this.#piece = piece
    this.#socket = connect(port, '127.0.0.1')
    this.#socket.on('data', (bytes: Buffer) => this.#check(bytes))
    this.#socket.on('error', ({ message }) => this.#fail(message))
    this.#socket.on('close', () => this.#fail('closed'))
    this.#socket.on('connect', () => this.#send())
    onTestFinished(() => void this.#socket.destroy())
  }

  #send(): void {
    const { sent } = this
    const piece = Buffer.alloc(this.#piece)
    for (let i = 0; i < piece.length; i++) piece[i] = byteAt(this.#seed, sent + i)
    this.sent += piece.length
    this.#socket.write(piece)
  }

  #check(bytes: Buffer): void {
    for (const byte of bytes) {
      if (byte !== byteAt(this.#seed, this.received)) {
        this.#fail(`byte ${this.received} is ${byte}`)
        return
      }
      this.received++
    }
    if (this.received === this.sent && !this.#isOver) this.#send()
  }

  #fail(what: string): void {
    if (!this.#isOver) this.fault ??= `${what} after ${this.received} of ${this.sent} bytes`
    this.#isOver = true
  }

  /** Sends nothing more, waits for what is under way, and closes the connection. */
  async end(): Promise<void> {
    this.#isOver = true
    while (this.received < this.sent && !this.#socket.closed) await once(this.#socket, 'data')
    this.#socket.destroy()
  }
}
