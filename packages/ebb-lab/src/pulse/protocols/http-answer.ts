/**
 * Reads HTTP/1.1 responses of many connections (RFC 9112). A connection between two responses, or within a body, has
 * only numbers in arrays; a buffer is kept only for a head that has arrived in part.
 */
import { grown, resized } from 'ebb/sys'

/** Results of {@link AnswerReader.read}. */
const PARTIAL = 0
/** The response is complete: {@link AnswerReader.status} and {@link AnswerReader.end} tell more. */
export const COMPLETE = 1
/** The bytes are not an HTTP response. */
export const INVALID = 2

/** What {@link AnswerReader.read} returns. */
export type AnswerResult = typeof PARTIAL | typeof COMPLETE | typeof INVALID

/** Longest head of a response, bytes. */
const MAX_HEAD = 65_536
/** Longest line of a trailer, bytes. */
const MAX_LINE = 16_384
/** Largest chunk size that is believed, to stay within exact numbers. */
const MAX_CHUNK = 2 ** 48

/** Status of an answer after which the connection speaks another protocol. */
export const SWITCHING_PROTOCOLS = 101
const NO_CONTENT = 204
const NOT_MODIFIED = 304

// What a connection expects next.
const HEAD = 0
/** Bytes of a body whose length is known. */
const BODY = 1
/** The size of a chunk. */
const CHUNK_SIZE = 2
/** The rest of the line with the size. */
const CHUNK_EXTENSION = 3
const CHUNK_DATA = 4
/** The end of the line after a chunk. */
const CHUNK_END = 5
/** The start of a line after the last chunk. */
const TRAILER = 6
/** The rest of a trailer's line. */
const TRAILER_LINE = 7
/** Bytes of a body that ends with the connection. */
const UNTIL_END = 8

const LF = 10
const CR = 13
const COLON = 58
const PREFIX = Buffer.from('HTTP/1.')

/** Reads the responses of all connections of a client. */
export class AnswerReader {
  /** Status of the response that was read last. */
  status = 0
  /** Offset after the response that is complete, in {@link bytes}. */
  end = 0
  /** The bytes that `end` is an offset of: those given, or those kept and those given. */
  bytes: Buffer = Buffer.alloc(0)
  /** Head of the response that was read last: where it starts and ends in {@link bytes}. */
  headStart = 0
  headEnd = 0

  #phase = new Uint8Array(0)
  /** By line: bytes left of the body or chunk, or the number of bytes of the current line. */
  #left = new Float64Array(0)
  #status = new Uint16Array(0)
  /** Heads that arrived in part. */
  readonly #heads = new Map<number, Buffer>()

  // What the last head says.
  #length = -1
  #isChunked = false
  #hasCoding = false

  /** Makes room for lines below `size`. */
  reserve(size: number): void {
    if (size <= this.#phase.length) return
    const length = grown(this.#phase.length, size)
    this.#phase = resized(this.#phase, new Uint8Array(length))
    this.#left = resized(this.#left, new Float64Array(length))
    this.#status = resized(this.#status, new Uint16Array(length))
  }

  /** Starts with a new response. */
  reset(line: number): void {
    this.#phase[line] = HEAD
    if (this.#heads.size > 0) this.#heads.delete(line)
  }

  /** Returns whether a response has begun and is not complete. */
  isWithin(line: number): boolean {
    return this.#phase[line] !== HEAD || this.#heads.has(line)
  }

  /** The connection has ended. Returns whether this completes a response, as it does if nothing else tells its end. */
  finish(line: number): boolean {
    const isComplete = this.#phase[line] === UNTIL_END
    this.status = this.#status[line] as number
    this.reset(line)
    return isComplete
  }

  /**
   * Reads on. Interim responses (1xx other than 101) are passed over.
   *
   * @param isHead whether the request was HEAD, whose response has no body
   */
  read(line: number, bytes: Buffer, length: number, isHead: boolean): AnswerResult {
    let given = bytes
    let end = length
    let at = 0
    if (this.#heads.size > 0) {
      const kept = this.#heads.get(line)
      if (kept !== undefined) {
        given = Buffer.concat([kept, bytes.subarray(0, length)])
        end = given.length
        this.#heads.delete(line)
      }
    }
    this.bytes = given
    while (this.#phase[line] === HEAD) {
      const start = at
      at = this.#readHead(given, at, end)
      if (at === -1) return INVALID
      if (at === 0) {
        if (end - start > MAX_HEAD) return INVALID
        this.#heads.set(line, Buffer.from(given.subarray(start, end)))
        return PARTIAL
      }
      const { status } = this
      if (status < 200 && status !== SWITCHING_PROTOCOLS) {
        if (at === end) return PARTIAL
        continue
      }
      this.headStart = start
      this.headEnd = at
      this.#status[line] = status
      if (isHead || status === SWITCHING_PROTOCOLS || status === NO_CONTENT || status === NOT_MODIFIED) {
        return this.#complete(line, at)
      }
      if (this.#isChunked) this.#expect(line, CHUNK_SIZE, 0)
      else if (this.#length === 0 && !this.#hasCoding) return this.#complete(line, at)
      else if (this.#length > 0 && !this.#hasCoding) this.#expect(line, BODY, this.#length)
      else this.#expect(line, UNTIL_END, 0)
    }
    return this.#readBody(line, given, at, end)
  }

  #complete(line: number, end: number): typeof COMPLETE {
    this.#phase[line] = HEAD
    this.status = this.#status[line] as number
    this.end = end
    return COMPLETE
  }

  #expect(line: number, phase: number, left: number): void {
    this.#phase[line] = phase
    this.#left[line] = left
  }

  #readBody(line: number, bytes: Buffer, start: number, end: number): AnswerResult {
    let at = start
    while (at < end) {
      const left = this.#left[line] as number
      switch (this.#phase[line]) {
        case UNTIL_END:
          return PARTIAL
        case BODY:
        case CHUNK_DATA: {
          const taken = Math.min(left, end - at)
          at += taken
          this.#left[line] = left - taken
          if (taken < left) return PARTIAL
          if (this.#phase[line] === BODY) return this.#complete(line, at)
          this.#expect(line, CHUNK_END, 0)
          break
        }
        default: {
          const result = this.#readChunkByte(line, bytes[at++] as number, left)
          if (result === COMPLETE) return this.#complete(line, at)
          if (result === INVALID) return INVALID
        }
      }
    }
    return PARTIAL
  }

  /** Reads a byte of the lines around the chunks. `left` is the size so far, or the number of bytes of the line. */
  #readChunkByte(line: number, byte: number, left: number): AnswerResult {
    switch (this.#phase[line]) {
      case CHUNK_SIZE: {
        const digit = hexDigit(byte)
        if (digit !== -1) {
          // A size is kept as -size - 1, so that 0 stands for a line without a digit.
          const size = left < 0 ? (-left - 1) * 16 + digit : digit
          if (size > MAX_CHUNK) return INVALID
          this.#left[line] = -size - 1
          return PARTIAL
        }
        if (left === 0) return INVALID
        if (byte === LF) this.#beginChunk(line, -left - 1)
        else if (byte === CR || byte === 0x3b || byte === 0x20 || byte === 0x09) this.#phase[line] = CHUNK_EXTENSION
        else return INVALID
        return PARTIAL
      }
      case CHUNK_EXTENSION:
        if (byte === LF) this.#beginChunk(line, -left - 1)
        return PARTIAL
      case CHUNK_END:
        if (byte === LF) this.#expect(line, CHUNK_SIZE, 0)
        else if (byte !== CR || left === 1) return INVALID
        else this.#left[line] = 1
        return PARTIAL
      default:
        return this.#readTrailerByte(line, byte, left)
    }
  }

  #beginChunk(line: number, size: number): void {
    if (size === 0) this.#expect(line, TRAILER, 0)
    else this.#expect(line, CHUNK_DATA, size)
  }

  #readTrailerByte(line: number, byte: number, left: number): AnswerResult {
    if (left > MAX_LINE) return INVALID
    if (byte === LF) {
      if (this.#phase[line] === TRAILER) return COMPLETE
      this.#expect(line, TRAILER, 0)
    } else {
      if (byte !== CR) this.#phase[line] = TRAILER_LINE
      this.#left[line] = left + 1
    }
    return PARTIAL
  }

  /** Reads a head. Returns the offset after it; 0 if it is not complete, -1 if it is no head of a response. */
  #readHead(bytes: Buffer, start: number, end: number): number {
    for (let i = 0; i < PREFIX.length; i++) {
      if (start + i >= end) return 0
      if (bytes[start + i] !== PREFIX[i]) return -1
    }
    let lf = indexOfLineEnd(bytes, start, end)
    // HTTP/1.1 200 OK
    const at = start + PREFIX.length
    if (lf !== -1 || end - start >= 12) {
      const status = digitOf(bytes[at + 2]) * 100 + digitOf(bytes[at + 3]) * 10 + digitOf(bytes[at + 4])
      const isVersion = bytes[at] === 0x30 || bytes[at] === 0x31
      if (!isVersion || bytes[at + 1] !== 0x20 || !(status >= 100 && status <= 999)) return -1
      this.status = status
    }
    if (lf === -1) return 0
    const after = bytes[at + 5]
    if (after !== 0x20 && after !== CR && after !== LF) return -1
    this.#length = -1
    this.#isChunked = this.#hasCoding = false
    for (;;) {
      const from = lf + 1
      lf = indexOfLineEnd(bytes, from, end)
      if (lf === -1) return 0
      const to = lf > from && bytes[lf - 1] === CR ? lf - 1 : lf
      if (to === from) return lf + 1
      if (!this.#readHeader(bytes, from, to)) return -1
    }
  }

  /** Reads a header. Returns false if it is not valid. */
  #readHeader(bytes: Buffer, from: number, to: number): boolean {
    let colon = from
    while (colon < to && (bytes[colon] as number) !== COLON) {
      if ((bytes[colon] as number) <= 0x20) return false
      colon++
    }
    if (colon === to || colon === from) return false
    switch (colon - from) {
      case 14:
        if (!isName(bytes, from, 'content-length')) return true
        return this.#readLength(bytes, colon + 1, to)
      case 17:
        if (!isName(bytes, from, 'transfer-encoding')) return true
        this.#hasCoding = true
        this.#isChunked = /(?:^|,)\s*chunked$/i.test(textAfter(bytes, colon, to))
        return true
      default:
        return true
    }
  }

  /** Reads the value of `Content-Length`: digits, with spaces and tabs around them. */
  #readLength(bytes: Buffer, from: number, to: number): boolean {
    let [at, end] = [from, to]
    while (at < end && isSpace(bytes[at])) at++
    while (end > at && isSpace(bytes[end - 1])) end--
    let length = 0
    // NaN for a byte that is no digit.
    for (let i = at; i < end; i++) length = length * 10 + digitOf(bytes[i])
    if (at === end || !(length <= Number.MAX_SAFE_INTEGER)) return false
    if (this.#length !== -1 && this.#length !== length) return false
    this.#length = length
    return true
  }
}

/** Returns the offset of the next line feed before `end`, or -1. */
function indexOfLineEnd(bytes: Buffer, from: number, end: number): number {
  for (let at = from; at < end; at++) if (bytes[at] === LF) return at
  return -1
}

/** Returns whether the bytes at `from` are a name, in upper or lower case. */
function isName(bytes: Buffer, from: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[from + i] as number
    const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    if (lower !== name.charCodeAt(i)) return false
  }
  return true
}

/** Returns the value of a header without the space around it. */
function textAfter(bytes: Buffer, colon: number, to: number): string {
  return bytes.toString('latin1', colon + 1, to).trim()
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09
}

function digitOf(byte: number | undefined): number {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39 ? byte - 0x30 : Number.NaN
}

/** Returns the value of a hexadecimal digit, or -1. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
