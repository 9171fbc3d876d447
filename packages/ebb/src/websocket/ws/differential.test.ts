/**
 * The same bytes, right and wrong, cut anywhere, for a server on `ws` and for a parked one: both emit the same events,
 * and send the same messages.
 *
 * `EBB_RUNS` is the number of streams for each kind of server.
 */
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import { masked } from '../testing/server.js'
import { isWebSocketParked, parkWebSocket, parkWebSockets } from './park-web-sockets.js'

const MAX_PAYLOAD = 3000
/** The pong to a ping that ends a stream of compressed messages. */
const LAST_PONG = Buffer.from([0x8a, 4, ...Buffer.from('last')])

interface Frame {
  first: number
  payload: Buffer
  deflated: boolean
}

/** Mostly what may follow, and sometimes anything. */
const firstByte = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0x81, 0x82, 0x89, 0x8a) },
  { weight: 3, arbitrary: fc.constantFrom(0x01, 0x02, 0x00, 0x80) },
  { weight: 1, arbitrary: fc.nat(255) }
)

const payload = fc.oneof(
  { weight: 4, arbitrary: fc.string({ maxLength: 100 }).map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }).map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 130 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 1, arbitrary: fc.nat(2 * MAX_PAYLOAD).map((length) => Buffer.alloc(length, 'long ')) }
)

const frame: fc.Arbitrary<Frame> = fc.record({ first: firstByte, payload, deflated: fc.boolean() })

const closing = fc.record({ code: fc.oneof(fc.constantFrom(1000, 1001, 3000, 4999), fc.nat(5100)), reason: payload })

interface Stream {
  frames: Frame[]
  closing: { code: number; reason: Buffer } | undefined
  /** Bytes that are changed: where, as a share of all, and the bits. */
  changes: { at: number; bits: number }[]
  cuts: number[]
  /** Share of the bytes that are sent before the FIN. */
  sent: number
}

const stream: fc.Arbitrary<Stream> = fc.record({
  frames: fc.array(frame, { maxLength: 12, size: 'max' }),
  closing: fc.option(closing, { nil: undefined }),
  changes: fc.oneof(
    { weight: 2, arbitrary: fc.constant<Stream['changes']>([]) },
    fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), bits: fc.integer({ min: 1, max: 255 }) }), {
      maxLength: 3
    })
  ),
  cuts: fc.array(fc.oneof(fc.nat(8), fc.nat(200), fc.nat(3000)), { minLength: 1, maxLength: 6 }),
  sent: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.double({ min: 0, max: 1, noNaN: true }))
})

function deflated(bytes: Buffer): Buffer {
  const result = deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH })
  return result.subarray(0, result.length - 4)
}

/** Returns the pieces that a client writes. */
function piecesOf({ frames, closing, changes, cuts, sent }: Stream, compression: boolean): Buffer[] {
  const parts = frames.map(({ first, payload, deflated: compressed }) => {
    const isData = compression && compressed && (first === 0x81 || first === 0x82)
    return isData ? masked(first | 0x40, deflated(payload)) : masked(first, payload)
  })
  if (closing !== undefined) {
    const code = Buffer.from([closing.code >> 8, closing.code & 255])
    parts.push(masked(0x88, Buffer.concat([code, closing.reason]).subarray(0, 125)))
  }
  const bytes = Buffer.concat(parts)
  for (const { at, bits } of changes) {
    const index = Math.floor(at * (bytes.length - 1))
    if (bytes.length > 0) bytes[index] = (bytes[index] as number) ^ bits
  }
  const end = Math.floor(sent * bytes.length)
  const pieces: Buffer[] = []
  for (let at = 0, i = 0; at < end; i++) {
    const size = Math.max(1 + (cuts[i % cuts.length] as number), Math.ceil(end / 200))
    pieces.push(bytes.subarray(at, Math.min(end, at + size)))
    at += size
  }
  return pieces
}

/** A server that sends messages back. */
class Server {
  readonly #http = http.createServer()
  readonly webSockets: WebSocketServer
  readonly #parks: boolean
  readonly #compression: boolean
  /** How often a connection was parked before a piece was written. */
  parked = 0

  constructor(parks: boolean, options: ServerOptions) {
    this.#parks = parks
    this.#compression = options.perMessageDeflate !== undefined
    this.webSockets = new WebSocketServer({ server: this.#http, maxPayload: MAX_PAYLOAD, ...options })
    if (parks) parkWebSockets(this.webSockets, { idle: '1h' })
  }

  async listen(): Promise<void> {
    await once(this.#http.listen(0, '127.0.0.1'), 'listening')
  }

  async close(): Promise<void> {
    this.#http.close()
    this.#http.closeAllConnections()
    await once(this.#http, 'close')
  }

  /** Sends a stream. @returns the events of the server, and what it has sent */
  async play(one: Stream): Promise<{ events: string[]; sent: string[] }> {
    const client = net.connect({
      port: (this.#http.address() as AddressInfo).port,
      host: '127.0.0.1',
      allowHalfOpen: true
    })
    const received: Buffer[] = []
    const ended = new Promise<void>((resolve) => {
      client.on('data', (bytes: Buffer) => received.push(bytes))
      client
        .on('end', resolve)
        .on('close', resolve)
        .on('error', () => {})
    })
    const extensions = 'permessage-deflate; client_no_context_takeover; server_no_context_takeover'
    client.write(
      [
        'GET / HTTP/1.1',
        'Host: a',
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
        'Sec-WebSocket-Version: 13',
        ...(this.#compression ? [`Sec-WebSocket-Extensions: ${extensions}`] : []),
        '\r\n'
      ].join('\r\n')
    )
    const [peer] = (await once(this.webSockets, 'connection')) as [WebSocket]
    const events: string[] = []
    const closed = new Promise((resolve) => peer.once('close', resolve))
    peer.on('message', (bytes: Buffer, binary) => {
      events.push(`${binary ? 'binary' : 'text'} ${bytes.toString('latin1')} in state ${peer.readyState}`)
      peer.send(bytes, { binary }, (error) => {
        if (error && peer.readyState === 1) events.push(`failed: ${error.message}`)
      })
    })
    peer.on('ping', (bytes: Buffer) => events.push(`ping ${bytes.toString('latin1')}`))
    peer.on('pong', (bytes: Buffer) => events.push(`pong ${bytes.toString('latin1')}`))
    peer.on('error', (error: Error & { code?: string }) => events.push(`error ${error.code} ${error.message}`))
    peer.on('close', (code, reason) =>
      events.push(`close ${code} ${reason.toString('latin1')}, state ${peer.readyState}`)
    )
    for (const [i, piece] of piecesOf(one, this.#compression).entries()) {
      // What has arrived is read in every other turn, and all of it when the connection is parked.
      if (i % 2 === 0) await turn()
      if (this.#parks && parkWebSocket(peer) && isWebSocketParked(peer)) this.parked++
      client.write(piece)
    }
    if (this.#compression) {
      // `ws` inflates and deflates in other threads, so it may lose what precedes a FIN.
      client.write(masked(0x89, 'last'))
      const isOver = () => client.readableEnded || client.destroyed || Buffer.concat(received).includes(LAST_PONG)
      while (!isOver()) await turn()
    } else await turn()
    if (one.sent < 1 || one.changes.length > 0 || one.closing === undefined) client.end()
    await ended
    client.end()
    await closed
    client.destroy()
    return { events, sent: framesOf(Buffer.concat(received)) }
  }
}

/** Shows what a server has sent after its response: messages inflated. */
function framesOf(all: Buffer): string[] {
  const bytes = all.subarray(all.indexOf('\r\n\r\n') + 4)
  const frames: string[] = []
  for (let at = 0; at < bytes.length; ) {
    const short = bytes[at + 1] as number
    const length = short < 126 ? short : bytes.readUInt16BE(at + 2)
    const start = at + (short < 126 ? 2 : 4)
    const first = bytes[at] as number
    const content = bytes.subarray(start, start + length)
    const payload = (first & 0x40) === 0 ? content : inflateRawSync(content, { finishFlush: constants.Z_SYNC_FLUSH })
    frames.push(`${first.toString(16)} ${payload.toString('latin1')}`)
    at = start + length
  }
  return frames
}

const none = { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 50 }

describe.each<{ name: string; options: ServerOptions }>([
  { name: 'no options', options: {} },
  { name: 'skipUTF8Validation', options: { skipUTF8Validation: true } },
  { name: 'autoPong: false', options: { autoPong: false } },
  { name: 'compression', options: { perMessageDeflate: none } }
])('$name', ({ options }) => {
  const plain = new Server(false, options)
  const parked = new Server(true, options)
  beforeAll(async () => {
    await plain.listen()
    await parked.listen()
  })
  afterAll(async () => {
    await plain.close()
    await parked.close()
  })

  test('the same events and the same messages', async () => {
    const compression = options.perMessageDeflate !== undefined
    // Only a whole stream has an end that both servers see.
    const streams = compression ? stream.map((one) => ({ ...one, changes: [], sent: 1 })) : stream
    const property = fc.asyncProperty(streams, async (one) => {
      const [was, wanted] = [await parked.play(one), await plain.play(one)]
      expect(was.events).toEqual(wanted.events)
      // Where `ws` is still compressing when it closes a connection after an error, it sends neither.
      const isLost = compression && was.events.some((event) => event.startsWith('error'))
      if (!isLost) expect(was.sent).toEqual(wanted.sent)
    })
    await fc.assert(property, { numRuns: Number(process.env.EBB_RUNS ?? 100), timeout: 20_000 })
    expect(parked.parked).toBeGreaterThan(0)
  }, 3_600_000)
})
