/** HTTP/1.1: one request at a time on each connection, which is kept alive between them. */
import { addressOf } from 'ebb/sys'
import { Template } from '../template.js'
import { AnswerReader, COMPLETE, INVALID, SWITCHING_PROTOCOLS } from './http-answer.js'
import type { HttpSettings, Protocol, Wire } from './protocol.js'
import { requestHead } from './requests.js'

/** Lowest status that counts as a wrong answer. */
const FIRST_ERROR = 400

/** Sends requests and reads responses. */
export class HttpProtocol implements Protocol {
  readonly awaitsAnswer = true
  readonly needsOrder = true
  readonly #wire: Wire
  readonly #reader = new AnswerReader()
  readonly #isHead: boolean
  /** The request, if it is always the same, and its address. */
  readonly #fixed: Buffer | undefined
  readonly #fixedAt: number
  readonly #head: Template
  readonly #body: Template | undefined

  constructor(wire: Wire, settings: HttpSettings) {
    this.#wire = wire
    this.#isHead = settings.method === 'HEAD'
    this.#body = settings.body === null ? undefined : new Template(settings.body)
    this.#head = new Template(headOf(settings))
    const isFixed = this.#head.isFixed && this.#body?.isFixed !== false
    this.#fixed = isFixed ? Buffer.from(this.#request(0, 0)) : undefined
    this.#fixedAt = this.#fixed === undefined ? 0 : addressOf(this.#fixed)
  }

  reserve(size: number): void {
    this.#reader.reserve(size)
  }

  begin(line: number): void {
    this.#reader.reset(line)
    this.#wire.opened(line)
  }

  speak(line: number): void {
    if (this.#fixed !== undefined) this.#wire.send(line, this.#fixed, this.#fixedAt)
    else this.#wire.send(line, Buffer.from(this.#request(this.#wire.idOf(line), this.#wire.sentBy(line))))
  }

  receive(line: number, bytes: Buffer, length: number): void {
    const wire = this.#wire
    const reader = this.#reader
    const result = reader.read(line, bytes, length, this.#isHead)
    if (result === INVALID) wire.refuse(line, 'GARBAGE')
    else if (result === COMPLETE) {
      const { status, end } = reader
      const cause = status >= FIRST_ERROR ? `HTTP_${status}` : undefined
      const isSurplus = end < (reader.bytes === bytes ? length : reader.bytes.length)
      wire.traffic.countStatus(status)
      // A server may say why it closes an idle connection (408).
      if (!wire.isAwaiting(line)) wire.refuse(line, cause ?? 'GARBAGE')
      else if (isSurplus || status === SWITCHING_PROTOCOLS) wire.refuse(line, 'GARBAGE')
      else if (cause === undefined) wire.answered(line)
      else wire.unanswered(line, cause)
    }
  }

  ended(line: number): string {
    if (!this.#reader.isWithin(line)) return 'FIN'
    if (!this.#reader.finish(line)) return 'TRUNCATED'
    const { status } = this.#reader
    const cause = status < FIRST_ERROR ? undefined : `HTTP_${status}`
    this.#wire.traffic.countStatus(status)
    if (!this.#wire.isAwaiting(line)) return cause ?? 'GARBAGE'
    if (cause === undefined) this.#wire.answered(line)
    else this.#wire.unanswered(line, cause)
    return 'FIN'
  }

  ping(): void {}

  lastWords(): undefined {}

  forget(line: number): void {
    this.#reader.reset(line)
  }

  #request(id: number, n: number): string {
    const values = { id, n }
    const body = this.#body?.fill(values)
    const head = this.#head.fill(values)
    if (body === undefined) return head
    const length = `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`
    return `${head.slice(0, -2)}${length}${body}`
  }
}

/** Returns the head of the request, without the length of its body. */
function headOf(settings: HttpSettings): string {
  const { headers, host, body, method } = settings
  const without = headers.filter(([name]) => body === null || name.toLowerCase() !== 'content-length')
  // A server may expect the length of a body from these methods, also of none (RFC 9110, 8.6).
  const isBare = body === null && /^(?:POST|PUT|PATCH)$/.test(method)
  return requestHead({ ...settings, headers: without }, [
    ['Host', host],
    ['User-Agent', 'ebb'],
    ['Accept', '*/*'],
    ...(isBare ? ([['Content-Length', '0']] as const) : [])
  ])
}
