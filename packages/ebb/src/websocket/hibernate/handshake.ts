/** The opening handshake of RFC 6455, section 4.2: what a request must be, and how it is answered. */
import { hash } from 'node:crypto'
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue
} from 'node:http'
import { checkObject } from '../../sys/arguments.js'
import { invalidArgument, shown } from '../../sys/errors.js'
import { checkTags } from './tags.js'

/** Appended to the key of a client: RFC 6455, section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** 16 bytes in Base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/
/** A token of RFC 9110, section 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const VERSION = '13'

/** A client's request for a WebSocket connection. */
export interface UpgradeRequest {
  /** Path and query: `/chat?room=1`. */
  readonly url: string
  /** Headers, as in `http.IncomingMessage`: names are in lower case. */
  readonly headers: IncomingHttpHeaders
  /** Subprotocols that the client offers, the preferred one first: `Sec-WebSocket-Protocol`. */
  readonly protocols: readonly string[]
  /** The page that opens the connection, if the client is a browser: `Origin`. */
  readonly origin: string | undefined
  /** Address of the client, or the one that a balancer has told by the PROXY protocol; undefined for a Unix socket. */
  readonly remoteAddress: string | undefined
  /** The request as Node has read it; undefined if the handshake is done while the connection is parked. */
  readonly incoming: IncomingMessage | undefined
}

/** What an `upgrade` handler answers. With {@link status}, the connection is refused. */
export interface UpgradeAnswer<A = unknown> {
  /** HTTP status with which the connection is refused: 300 to 599. */
  status?: number
  /** Body of a refusal, as text. Default: the name of the status. */
  body?: string
  /**
   * Headers of the response. Those of the handshake, and those that tell how long the response is, cannot be given.
   * Default: none.
   */
  headers?: Readonly<Record<string, string | readonly string[]>>
  /** Subprotocol: one that the client offers. Default: none. */
  protocol?: string | undefined
  /** First tags of the connection: at most 10, each of 1 to 256 characters. Default: none. */
  tags?: readonly string[] | undefined
  /** First attachment of the connection. Default: none. */
  attachment?: A | undefined
}

/** `true` and undefined accept a connection, `false` refuses it with status 403. */
export type UpgradeResult<A = unknown> = UpgradeAnswer<A> | boolean | undefined

/** A request that was read. */
export class Request implements UpgradeRequest {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly protocols: readonly string[]
  readonly incoming: IncomingMessage | undefined
  readonly #address: () => string | undefined

  constructor(
    url: string,
    headers: IncomingHttpHeaders,
    protocols: readonly string[],
    address: () => string | undefined,
    incoming?: IncomingMessage
  ) {
    this.url = url
    this.headers = headers
    this.protocols = protocols
    this.incoming = incoming
    this.#address = address
  }

  get origin(): string | undefined {
    return this.headers.origin
  }

  get remoteAddress(): string | undefined {
    return this.#address()
  }
}

/** A refusal, ready to be sent. */
export interface Refusal {
  status: number
  body?: string | undefined
  headers?: UpgradeAnswer['headers']
}

/** An accepted connection. */
export interface Acceptance {
  /** Lines of the response after those of the handshake, each with its line break. */
  lines: string
  protocol: string | undefined
  tags: readonly string[]
  attachment: unknown
}

/** Returns what is wrong with a request for an upgrade; its subprotocols if nothing is. */
export function checkRequest(method: string | undefined, headers: IncomingHttpHeaders): Refusal | readonly string[] {
  if (method !== 'GET') return { status: 405, headers: { Allow: 'GET' } }
  if (headers.upgrade?.toLowerCase() !== 'websocket') return { status: 400, body: 'Upgrade must be websocket' }
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) return { status: 400, body: 'Sec-WebSocket-Key is not valid' }
  if (headers['sec-websocket-version'] !== VERSION) {
    return { status: 426, headers: { 'Sec-WebSocket-Version': VERSION } }
  }
  const offered = headers['sec-websocket-protocol']
  if (offered === undefined) return NO_PROTOCOLS
  const protocols = offered.split(',').map((name) => name.trim())
  const isValid = protocols.every((name) => TOKEN.test(name)) && new Set(protocols).size === protocols.length
  return isValid ? protocols : { status: 400, body: 'Sec-WebSocket-Protocol is not valid' }
}

/** As {@link checkRequest}, for a request that `http` has read. */
export function checkIncoming({ httpVersionMinor, method, headers }: IncomingMessage): Refusal | readonly string[] {
  // An upgrade of HTTP/1.0 means nothing (RFC 9110, section 7.8), and a body would be read as frames.
  if (httpVersionMinor === 0) return { status: 400, body: 'HTTP/1.1 is required' }
  const refusal = checkRequest(method, headers)
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
  if (!isRefusal(refusal) && (Number(length) !== 0 || encoding !== undefined)) {
    return { status: 400, body: 'The request must have no body' }
  }
  return refusal
}

const NO_PROTOCOLS: readonly string[] = Object.freeze([])

/** Whether a check of a request has found something. */
export function isRefusal(value: Refusal | readonly string[] | Acceptance): value is Refusal {
  return 'status' in value
}

/**
 * Returns what the answer of an `upgrade` handler means.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`, `ERR_INVALID_CHAR`, `ERR_INVALID_HTTP_TOKEN` for an answer that is not
 *   valid
 */
export function answerOf(result: UpgradeResult, offered: readonly string[]): Refusal | Acceptance {
  if (result === undefined || result === true) return ACCEPTANCE
  if (result === false) return { status: 403 }
  checkObject(result, 'result of upgrade() that is neither undefined, true nor false')
  const { status, body, headers, protocol, tags = [], attachment } = result
  const lines = linesOf(headers, status === undefined ? OF_HANDSHAKE : OF_REFUSAL)
  if (status !== undefined) {
    if (!Number.isInteger(status) || status < 300 || status > 599) {
      throw invalidArgument(`status of a refused connection must be from 300 to 599, not ${shown(status)}`)
    }
    if (body !== undefined && typeof body !== 'string')
      throw invalidArgument(`body must be a string, not ${shown(body)}`)
    return { status, body, headers }
  }
  if (protocol !== undefined && !offered.includes(protocol)) {
    throw invalidArgument(`protocol must be one that the client offers (${offered.join(', ')}), not ${shown(protocol)}`)
  }
  return { lines, protocol, tags: checkTags(tags), attachment }
}

const ACCEPTANCE: Acceptance = Object.freeze({ lines: '', protocol: undefined, tags: [], attachment: undefined })

/** Headers that are not the program's: of a response that accepts a connection, and of one that refuses it. */
const OF_HANDSHAKE = /^(connection|upgrade|content-length|transfer-encoding|sec-websocket-.*)$/i
const OF_REFUSAL = /^(connection|content-length|transfer-encoding)$/i

/** @param own names of headers that must not be given */
function linesOf(headers: UpgradeAnswer['headers'], own: RegExp): string {
  if (headers === undefined) return ''
  checkObject(headers, 'headers of an answer')
  let lines = ''
  for (const [name, values] of Object.entries(headers)) {
    validateHeaderName(name)
    if (own.test(name)) throw invalidArgument(`headers of an answer must not have ${name}, which the server sets`)
    for (const value of Array.isArray(values) ? (values as unknown[]) : [values]) {
      if (typeof value !== 'string') throw invalidArgument(`header ${name} must be a string, not ${shown(value)}`)
      validateHeaderValue(name, value)
      lines += `${name}: ${value}\r\n`
    }
  }
  return lines
}

/** Returns the response that accepts a connection. @param key of the request */
export function acceptResponse(key: string, { lines, protocol }: Acceptance): Buffer {
  const accept = hash('sha1', key + GUID, 'base64')
  const chosen = protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`
  return Buffer.from(`${SWITCHING}Sec-WebSocket-Accept: ${accept}\r\n${chosen}${lines}\r\n`, 'latin1')
}

const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'

/** Returns the response that refuses a connection, and ends it. */
export function refuseResponse({ status, body, headers }: Refusal): Buffer {
  const reason = STATUS_CODES[status] ?? ''
  const text = Buffer.from(body ?? reason)
  const lines = linesOf(headers, OF_REFUSAL)
  const hasType = Object.keys(headers ?? {}).some((name) => name.toLowerCase() === 'content-type')
  const type = hasType ? '' : 'Content-Type: text/plain; charset=utf-8\r\n'
  const own = `Connection: close\r\n${type}Content-Length: ${text.length}\r\n`
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${own}${lines}\r\n`, 'latin1'), text])
}

/** The head of a request that was read from bytes. */
export interface RequestHead {
  url: string
  headers: IncomingHttpHeaders
  /** Number of bytes. */
  length: number
}

const REQUEST_LINE = /^GET (\/[!-~]*) HTTP\/1\.1$/
/** A value has no leading and no trailing blanks, and no control characters. */
const VALUE = /^[\t !-~\x80-\xff]*$/
const BLANKS = /^[\t ]+|[\t ]+$/g
const END = '\r\n\r\n'

/**
 * Reads the head of a plain GET request. Whatever is unusual is left to the parser of `http`.
 *
 * @param maxLength of the head, in bytes
 * @returns undefined if the head is incomplete, or unusual: another method, a URL that is not a path, a body, a header
 *   twice, a folded header, characters that are not allowed
 */
export function readHead(bytes: Buffer, maxLength: number): RequestHead | undefined {
  if (bytes[0] !== 0x47) return undefined
  const end = bytes.indexOf(END, 0, 'latin1')
  if (end === -1 || end + END.length > maxLength) return undefined
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const url = REQUEST_LINE.exec(first)?.[1]
  if (url === undefined) return undefined
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).replace(BLANKS, '')
    if (colon <= 0 || name in headers || !TOKEN.test(name) || !VALUE.test(value)) return undefined
    headers[name] = value
  }
  if (headers.host === undefined || 'content-length' in headers || 'transfer-encoding' in headers) return undefined
  if ('expect' in headers || !hasUpgrade(headers.connection)) return undefined
  return { url, headers, length: end + END.length }
}

function hasUpgrade(connection: string | undefined): boolean {
  return connection?.split(',').some((option) => option.trim().toLowerCase() === 'upgrade') === true
}
