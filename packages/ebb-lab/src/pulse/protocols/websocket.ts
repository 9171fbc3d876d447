/** WebSocket (RFC 6455), without extensions. */
import { createHash, randomBytes } from 'node:crypto'
import { addressOf, frames, grown, resized } from 'ebb/sys'
import { Template } from '../template.js'
import { AnswerReader, COMPLETE, INVALID, SWITCHING_PROTOCOLS } from './http-answer.js'
import { maskedFrame } from './masked-frame.js'
import type { Message } from './message.js'
import type { Protocol, WebSocketSettings, Wire } from './protocol.js'
import { requestHead } from './requests.js'

/** RFC 6455, 1.3: the server proves that it knows WebSocket by hashing this with the key. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Longest frame that is taken in, bytes. */
const MAX_FRAME = 16 * 2 ** 20
const RULES: frames.FrameRules = { masked: false, allowRsv1: false, maxPayload: MAX_FRAME }
/** A close frame with this code says that the client has done what it wanted. */
const NORMAL = 1000
const EMPTY = Buffer.alloc(0)

// What a connection expects next.
const HANDSHAKE = 0
const FRAMES = 1
/** Frames, and the current message is incomplete. */
const FRAGMENTS = 2

/** Bytes of a frame that has arrived in part. */
interface Part {
  chunks: Buffer[]
  length: number
  /** Length of the whole frame; 0 if it is not known yet. */
  whole: number
}

/** Does the handshake, sends messages and pings, and reads frames. */
export class WebSocketProtocol implements Protocol {
  readonly awaitsAnswer: boolean
  readonly needsOrder = false
  readonly #wire: Wire
  readonly #settings: WebSocketSettings
  readonly #isBinary: boolean
  readonly #message: Message | null
  readonly #accept: string
  readonly #request: Template
  readonly #fixedRequest: Buffer | undefined
  readonly #fixedRequestAt: number
  /** The frame of the message, if it is always the same. */
  readonly #frame: Buffer | undefined
  readonly #frameAt: number
  readonly #ping: Buffer
  readonly #pingAt: number
  readonly #close: Buffer
  readonly #answers = new AnswerReader()
  readonly #frames = new frames.FrameReader()
  #phase = new Uint8Array(0)
  readonly #parts = new Map<number, Part>()
  /** Payloads of incomplete messages whose content matters, because an echo is awaited. */
  readonly #fragments = new Map<number, Buffer[]>()
  /** Messages that are awaited back, if they differ. */
  readonly #awaited = new Map<number, Buffer>()
  /** The last head that was accepted: the heads of a server are mostly the same. */
  #acceptedHead = EMPTY

  constructor(
    wire: Wire,
    settings: WebSocketSettings,
    { message, isBinary, expectEcho }: { message: Message | null; isBinary: boolean; expectEcho: boolean }
  ) {
    this.#wire = wire
    this.#settings = settings
    this.#message = message
    this.#isBinary = isBinary
    this.awaitsAnswer = expectEcho && message !== null
    // One key serves all connections of this process, so that the request and the expected answer are made only once.
    // A key need not be secret: it shows that an answer belongs to a request, and not to one of an earlier process.
    const key = randomBytes(16).toString('base64')
    this.#accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
    this.#request = new Template(handshakeOf(settings, key))
    this.#fixedRequest = this.#request.isFixed ? Buffer.from(this.#request.fill({ id: 0, n: 0 })) : undefined
    this.#fixedRequestAt = this.#fixedRequest === undefined ? 0 : addressOf(this.#fixedRequest)
    this.#frame = message?.fixed === undefined ? undefined : maskedFrame(this.#opcode, message.fixed)
    this.#frameAt = this.#frame === undefined ? 0 : addressOf(this.#frame)
    this.#ping = maskedFrame(frames.PING, EMPTY)
    this.#pingAt = addressOf(this.#ping)
    this.#close = maskedFrame(frames.CLOSE, closePayload(NORMAL))
  }

  get #opcode(): number {
    return this.#isBinary ? frames.BINARY : frames.TEXT
  }

  reserve(size: number): void {
    this.#answers.reserve(size)
    if (size <= this.#phase.length) return
    this.#phase = resized(this.#phase, new Uint8Array(grown(this.#phase.length, size)))
  }

  begin(line: number): void {
    this.#phase[line] = HANDSHAKE
    this.#answers.reset(line)
    if (this.#fixedRequest !== undefined) this.#wire.send(line, this.#fixedRequest, this.#fixedRequestAt)
    else this.#wire.send(line, Buffer.from(this.#request.fill({ id: this.#wire.idOf(line), n: 0 })))
  }

  speak(line: number): void {
    if (this.#frame !== undefined) {
      this.#wire.send(line, this.#frame, this.#frameAt)
      return
    }
    const payload = (this.#message as Message).bytesFor(this.#wire.idOf(line), this.#wire.sentBy(line))
    if (this.awaitsAnswer) this.#awaited.set(line, payload)
    this.#wire.send(line, maskedFrame(this.#opcode, payload))
  }

  ping(line: number): void {
    this.#wire.send(line, this.#ping, this.#pingAt)
  }

  receive(line: number, bytes: Buffer, length: number): void {
    if (this.#phase[line] === HANDSHAKE) this.#readHandshake(line, bytes, length)
    else this.#readFrames(line, bytes, 0, length)
  }

  ended(line: number): string {
    const isWithin = this.#phase[line] === HANDSHAKE ? this.#answers.isWithin(line) : this.#parts.has(line)
    return isWithin ? 'TRUNCATED' : 'FIN'
  }

  lastWords(line: number): Uint8Array | undefined {
    return this.#phase[line] === HANDSHAKE ? undefined : this.#close
  }

  forget(line: number): void {
    this.#answers.reset(line)
    if (this.#parts.size > 0) this.#parts.delete(line)
    if (this.#fragments.size > 0) this.#fragments.delete(line)
    if (this.#awaited.size > 0) this.#awaited.delete(line)
  }

  #readHandshake(line: number, bytes: Buffer, length: number): void {
    const answers = this.#answers
    const result = answers.read(line, bytes, length, true)
    if (result === INVALID) this.#wire.refuse(line, 'GARBAGE')
    if (result !== COMPLETE) return
    if (answers.status !== SWITCHING_PROTOCOLS) {
      this.#wire.traffic.countStatus(answers.status)
      this.#wire.refuse(line, `HTTP_${answers.status}`)
      return
    }
    const given = answers.bytes
    const end = given === bytes ? length : given.length
    if (!this.#isAccepted(given, answers.headStart, answers.headEnd)) {
      this.#wire.refuse(line, 'WS_HANDSHAKE')
      return
    }
    this.#phase[line] = FRAMES
    this.#wire.opened(line)
    if (answers.end < end) this.#readFrames(line, given, answers.end, end)
  }

  /** Checks the headers of the answer to the handshake (RFC 6455, 4.1). */
  #isAccepted(bytes: Buffer, start: number, end: number): boolean {
    if (bytes.compare(this.#acceptedHead, 0, this.#acceptedHead.length, start, end) === 0) return true
    const values = headersOf(bytes.toString('latin1', start, end))
    const protocol = values.get('sec-websocket-protocol')
    const { subprotocols } = this.#settings
    const isAccepted =
      values.get('upgrade')?.toLowerCase() === 'websocket' &&
      /(?:^|,)\s*upgrade\s*(?:,|$)/i.test(values.get('connection') ?? '') &&
      values.get('sec-websocket-accept') === this.#accept &&
      (protocol === undefined ? subprotocols.length === 0 : subprotocols.includes(protocol)) &&
      (values.get('sec-websocket-extensions') ?? '') === ''
    if (isAccepted) this.#acceptedHead = Buffer.from(bytes.subarray(start, end))
    return isAccepted
  }

  /** Reads all frames, and keeps the bytes of one that is incomplete. */
  #readFrames(line: number, given: Buffer, start: number, length: number): void {
    let bytes = given
    let at = start
    let end = length
    if (this.#parts.size > 0) {
      const part = this.#parts.get(line)
      if (part !== undefined) {
        part.chunks.push(Buffer.from(given.subarray(start, length)))
        part.length += length - start
        if (part.length < part.whole) return
        bytes = Buffer.concat(part.chunks, part.length)
        at = 0
        end = bytes.length
        this.#parts.delete(line)
      }
    }
    const reader = this.#frames
    while (at < end) {
      const result = reader.read(bytes, at, end, RULES, this.#phase[line] === FRAGMENTS, 0)
      if (result === frames.INVALID) {
        this.#sendClose(line, reader.fault.closeCode)
        this.#wire.refuse(line, 'WS_FRAME')
        return
      }
      if (result === frames.PARTIAL) {
        const rest = Buffer.from(bytes.subarray(at, end))
        this.#parts.set(line, { chunks: [rest], length: rest.length, whole: Math.max(0, reader.end - at) })
        return
      }
      at = reader.end
      if (!this.#onFrame(line, bytes)) return
    }
  }

  /** Handles the frame that was read. Returns whether the connection is still open. */
  #onFrame(line: number, bytes: Buffer): boolean {
    const { opcode, start, length } = this.#frames
    const payload = bytes.subarray(start, start + length)
    switch (opcode) {
      case frames.PING:
        this.#wire.send(line, maskedFrame(frames.PONG, payload))
        return true
      case frames.PONG:
        this.#wire.ponged(line)
        return true
      case frames.CLOSE: {
        const isValid = frames.closeFault(bytes, start, length) === undefined
        const code = frames.closeCodeOf(bytes, start, length)
        this.#sendClose(line, code === frames.NO_CODE ? undefined : isValid ? code : 1002)
        this.#wire.refuse(line, isValid ? `WS_${code}` : 'WS_FRAME')
        return false
      }
      default:
        this.#onData(line, opcode, payload)
        return true
    }
  }

  #onData(line: number, opcode: number, payload: Buffer): void {
    const { fin } = this.#frames
    const isAwaiting = this.awaitsAnswer && this.#wire.isAwaiting(line)
    this.#phase[line] = fin ? FRAMES : FRAGMENTS
    if (isAwaiting && !(fin && opcode !== frames.CONTINUATION)) {
      const chunks = this.#fragments.get(line) ?? []
      chunks.push(Buffer.from(payload))
      this.#fragments.set(line, chunks)
    }
    if (!fin) return
    if (!isAwaiting) {
      this.#wire.traffic.received++
      return
    }
    const chunks = opcode === frames.CONTINUATION ? this.#fragments.get(line) : undefined
    this.#fragments.delete(line)
    const expected = this.#message?.fixed ?? (this.#awaited.get(line) as Buffer)
    if (expected.equals(chunks === undefined ? payload : Buffer.concat(chunks))) this.#wire.answered(line)
    else this.#wire.unanswered(line, 'MISMATCH')
  }

  #sendClose(line: number, code: number | undefined): void {
    this.#wire.send(line, maskedFrame(frames.CLOSE, code === undefined ? EMPTY : closePayload(code)))
  }
}

function handshakeOf(settings: WebSocketSettings, key: string): string {
  const { subprotocols } = settings
  return requestHead({ ...settings, method: 'GET' }, [
    ['Host', settings.host],
    ['Upgrade', 'websocket'],
    ['Connection', 'Upgrade'],
    ['Sec-WebSocket-Version', '13'],
    ['Sec-WebSocket-Key', key],
    ...(subprotocols.length === 0 ? [] : [['Sec-WebSocket-Protocol', subprotocols.join(', ')] as const])
  ])
}

/** Returns the headers of a head by their names in lower case. Values of the same name are joined. */
function headersOf(head: string): Map<string, string> {
  const headers = new Map<string, string>()
  for (const line of head.split(/\r?\n/).slice(1)) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    const former = headers.get(name)
    headers.set(name, former === undefined ? value : `${former}, ${value}`)
  }
  return headers
}

function closePayload(code: number): Buffer {
  return Buffer.from([code >> 8, code & 0xff])
}
