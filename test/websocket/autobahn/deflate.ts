/** permessage-deflate (RFC 7692) of a client, and the payloads of cases 12 and 13 of the Autobahn test suite. */
import { constants, createDeflateRaw, type DeflateRaw, deflateRawSync } from 'node:zlib'
import * as ws from 'ws'

type Parameters = Record<string, true | string>

interface Extension {
  accept(offers: object[]): object
}

const { extension, PerMessageDeflate } = ws as unknown as {
  extension: { parse(header: string): Record<string, object[]> }
  PerMessageDeflate: new () => Extension
}

const MAX_WINDOW_BITS = 15
/** What ends a message in the format of zlib, and is not sent. */
const TAIL_LENGTH = 4

/** What was negotiated for one connection. */
export class Compression {
  /** Options of the receiver of `ws` that reads what the server sends. */
  readonly receiverOptions: object
  readonly #windowBits: number
  readonly #takeover: boolean
  #stream: DeflateRaw | undefined

  /** @param accepted value of the response's header `Sec-WebSocket-Extensions` */
  constructor(accepted: string) {
    const parsed = extension.parse(accepted)
    const offers = parsed['permessage-deflate']
    if (offers === undefined) throw new Error(`the server has not accepted compression: ${accepted}`)
    const inflater = new PerMessageDeflate()
    const parameters = inflater.accept(offers) as Parameters
    this.receiverOptions = { extensions: { 'permessage-deflate': inflater } }
    this.#windowBits = Number(parameters.client_max_window_bits ?? MAX_WINDOW_BITS)
    this.#takeover = parameters.client_no_context_takeover !== true
  }

  /** Compresses a message. */
  async deflate(message: Buffer): Promise<Buffer> {
    const options = { windowBits: this.#windowBits }
    if (!this.#takeover) {
      const deflated = deflateRawSync(message, { ...options, finishFlush: constants.Z_SYNC_FLUSH })
      return deflated.subarray(0, deflated.length - TAIL_LENGTH)
    }
    this.#stream ??= createDeflateRaw(options)
    const stream = this.#stream
    const parts: Buffer[] = []
    const collect = (part: Buffer) => void parts.push(part)
    stream.on('data', collect)
    stream.write(message)
    await new Promise<void>((resolve) => stream.flush(constants.Z_SYNC_FLUSH, resolve))
    stream.off('data', collect)
    const deflated = Buffer.concat(parts)
    return deflated.subarray(0, deflated.length - TAIL_LENGTH)
  }
}

/** Sizes: length of the messages, and of the fragments that they are sent in (0: one frame). */
export const SIZES: [length: number, fragment: number][] = [
  ...[16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072].map((length): [number, number] => [length, 0]),
  ...[8192, 16_384, 32_768, 65_536, 131_072].map((length): [number, number] => [length, 256]),
  [131_072, 1024],
  [131_072, 4096],
  [131_072, 32_768]
]

/** Sets of offers of 13.1 to 13.7: whether the server is to forget its window, and the bits of its window. */
export const OFFERS: [noTakeover: boolean, windowBits: number][][] = [
  [[false, 0]],
  [[true, 0]],
  [[false, 9]],
  [[false, 15]],
  [[true, 9]],
  [[true, 15]],
  [
    [true, 9],
    [true, 0],
    [false, 0]
  ]
]

/** Returns the header of a request with offers. @param forgets whether the client offers to forget its own window */
export function offerHeader(offers: (typeof OFFERS)[number], forgets = true): string {
  const all = offers.map(([noTakeover, windowBits]) =>
    [
      'permessage-deflate',
      ...(forgets ? ['client_no_context_takeover'] : []),
      'client_max_window_bits',
      ...(noTakeover ? ['server_no_context_takeover'] : []),
      ...(windowBits === 0 ? [] : [`server_max_window_bits=${windowBits}`])
    ].join('; ')
  )
  return `Sec-WebSocket-Extensions: ${all.join(', ')}`
}

/** Returns numbers from 0 to 1 that are the same in each run. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

const LENGTH = 200_000
const WORDS = 'der Geist, der stets verneint und das mit Recht denn alles was entsteht ist wert dass es zugrunde geht'

/** Repeats `make` until there are enough bytes. */
function repeated(make: (next: () => number) => string | Buffer): Buffer {
  const next = random(7)
  const parts: Buffer[] = []
  for (let length = 0; length < LENGTH; ) {
    const bytes = Buffer.from(make(next) as string)
    parts.push(bytes)
    length += bytes.length
  }
  return Buffer.concat(parts).subarray(0, LENGTH)
}

const words = (next: () => number, count: number): string =>
  Array.from({ length: count }, () => WORDS.split(' ')[Math.floor(next() * 19)]).join(' ')

/** Kinds of payload, as in 12.1 to 12.5: the files of the test suite are not part of this project. */
export const PAYLOADS: { what: string; binary: boolean; bytes: Buffer }[] = [
  {
    what: 'JSON',
    binary: false,
    bytes: repeated(
      (next) => `"1.${Math.floor(next() * 99)}": {"behavior": "OK", "duration": ${Math.floor(next() * 1000)}},\n`
    )
  },
  {
    what: 'a picture',
    binary: true,
    bytes: repeated((next) => Buffer.alloc(4, Math.floor(next() * 6) + 100))
  },
  { what: 'prose', binary: true, bytes: repeated((next) => `${words(next, 9)}\n`) },
  { what: 'HTML', binary: false, bytes: repeated((next) => `<tr class="row"><td>${words(next, 2)}</td></tr>\n`) },
  { what: 'noise', binary: true, bytes: repeated((next) => Buffer.from([next() * 256])) }
]
