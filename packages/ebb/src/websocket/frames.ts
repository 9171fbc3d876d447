/**
 * Frames of RFC 6455, read from and written to a buffer without allocating.
 *
 *     byte 0   FIN, RSV1 to RSV3, opcode (4 bits)
 *     byte 1   MASK, length (7 bits): below 126 the length, 126: 2 bytes follow, 127: 8 bytes follow
 *     ...      4 bytes of mask, if MASK is set; then the payload
 *
 * A server receives masked frames and sends frames without a mask.
 */
import { isUtf8 } from 'node:buffer'

/** Opcodes. */
export const CONTINUATION = 0x0
export const TEXT = 0x1
export const BINARY = 0x2
export const CLOSE = 0x8
export const PING = 0x9
export const PONG = 0xa

/** Bits of the first byte of a frame. */
const FIN = 0x80
const RSV1 = 0x40
const RSV2_AND_3 = 0x30
const OPCODE = 0x0f
/** Bits of the second byte. */
const MASK = 0x80
const LENGTH = 0x7f

/** Largest payload of a control frame, in bytes. */
export const MAX_CONTROL = 125
/** A server's frame has a header of at most this many bytes. */
export const MAX_HEADER = 10
const MASK_SIZE = 4

/** Code of a close frame: the server is being shut down. */
export const GOING_AWAY = 1001
/** Stands for a close frame without a code. It is never sent. */
export const NO_CODE = 1005
/** Stands for a connection that ended without a close frame. It is never sent. */
export const ABNORMAL = 1006

/** Why a frame, or a message, is refused. */
export interface Fault {
  /** Close code to send to the peer. */
  readonly closeCode: 1002 | 1007 | 1009
  /** What is wrong, for the error's message. */
  readonly reason: string
}

function protocolFault(reason: string): Fault {
  return Object.freeze({ closeCode: 1002, reason })
}

/** All faults, so that reading a frame makes no object. */
export const FAULTS = {
  rsv1: protocolFault('RSV1 is set'),
  rsv23: protocolFault('RSV2 or RSV3 is set'),
  opcode: protocolFault('the opcode is not known'),
  continuation: protocolFault('a continuation frame arrived, but no message is incomplete'),
  interrupted: protocolFault('a message started before the last one was complete'),
  fragmentedControl: protocolFault('a control frame is fragmented'),
  longControl: protocolFault('a control frame is longer than 125 bytes'),
  unmasked: protocolFault('the frame has no mask'),
  masked: protocolFault('the frame has a mask'),
  length: protocolFault('the length is not in its shortest form'),
  closeLength: protocolFault('a close frame has a payload of one byte'),
  closeCode: protocolFault('the code of a close frame is not valid'),
  utf8: Object.freeze({ closeCode: 1007, reason: 'text is not valid UTF-8' }),
  tooLong: Object.freeze({ closeCode: 1009, reason: 'the message is longer than maxPayload' }),
  hugeLength: Object.freeze({ closeCode: 1009, reason: 'the length of the frame is 2^53 or more' })
} as const satisfies Record<string, Fault>

/** What is expected of the frames of a connection. */
export interface FrameRules {
  /** Whether frames must have a mask, as a client's have. If false, they must not have one. */
  readonly masked: boolean
  /** Whether RSV1 may be set on the first frame of a message (permessage-deflate). */
  readonly allowRsv1: boolean
  /** Maximum payload of a message, in bytes; 0: no limit. */
  readonly maxPayload: number
}

/** Results of {@link FrameReader.read}. */
export const WHOLE = 0
/** More bytes are needed. */
export const PARTIAL = 1
/** {@link FrameReader.fault} says what is wrong. */
export const INVALID = 2

/** Reads one frame at a time. Its fields describe the frame that was read last. */
export class FrameReader {
  opcode = 0
  /** Whether the frame is the last one of its message. */
  fin = false
  /** Whether RSV1 is set: the message is compressed. */
  rsv1 = false
  /** Offset of the payload, and its length. */
  start = 0
  length = 0
  /** Offset of the next frame. Of a partial frame: where the frame will end; 0 if its length is not known yet. */
  end = 0
  /** What is wrong with an invalid frame. */
  fault: Fault = FAULTS.opcode

  /**
   * Reads the frame at `at`. A fault is found as soon as the bytes show it.
   *
   * @param end end of the bytes
   * @param fragmented whether a message is incomplete
   * @param received payload of the incomplete message so far, in bytes
   * @returns {@link WHOLE}, {@link PARTIAL} or {@link INVALID}
   */
  read(
    bytes: Uint8Array,
    at: number,
    end: number,
    rules: FrameRules,
    fragmented: boolean,
    received: number
  ): typeof WHOLE | typeof PARTIAL | typeof INVALID {
    this.end = 0
    if (end - at < 2) return PARTIAL
    const first = bytes[at] as number
    const second = bytes[at + 1] as number
    this.opcode = first & OPCODE
    this.fin = (first & FIN) !== 0
    this.rsv1 = (first & RSV1) !== 0
    const fault = this.#checkHead(first, second, rules, fragmented)
    if (fault !== undefined) return this.#invalid(fault)
    let start = at + 2
    let length = second & LENGTH
    if (length === 126) {
      start += 2
      if (end < start) return PARTIAL
      length = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
      if (length < 126) return this.#invalid(FAULTS.length)
    } else if (length === 127) {
      start += 8
      if (end < start) return PARTIAL
      const high = uint32(bytes, at + 2)
      if (high >= 0x20_0000) return this.#invalid(FAULTS.hugeLength)
      length = high * 2 ** 32 + uint32(bytes, at + 6)
      if (length < 65_536) return this.#invalid(FAULTS.length)
    }
    if (this.opcode < CLOSE && rules.maxPayload > 0 && received + length > rules.maxPayload) {
      return this.#invalid(FAULTS.tooLong)
    }
    if (rules.masked) start += MASK_SIZE
    this.start = start
    this.length = length
    this.end = start + length
    return this.end <= end ? WHOLE : PARTIAL
  }

  #invalid(fault: Fault): typeof INVALID {
    this.fault = fault
    return INVALID
  }

  /** Checks the first two bytes, in the order of `ws`, so that both report the same fault. */
  #checkHead(first: number, second: number, rules: FrameRules, fragmented: boolean): Fault | undefined {
    const { opcode } = this
    if ((first & RSV2_AND_3) !== 0) return FAULTS.rsv23
    if (this.rsv1 && (!rules.allowRsv1 || (opcode !== TEXT && opcode !== BINARY))) return FAULTS.rsv1
    if (opcode === CONTINUATION) {
      if (!fragmented) return FAULTS.continuation
    } else if (opcode <= BINARY) {
      if (fragmented) return FAULTS.interrupted
    } else if (opcode >= CLOSE && opcode <= PONG) {
      const length = second & LENGTH
      if (!this.fin) return FAULTS.fragmentedControl
      if (length > MAX_CONTROL) return FAULTS.longControl
      if (opcode === CLOSE && length === 1) return FAULTS.closeLength
    } else return FAULTS.opcode
    if (((second & MASK) !== 0) !== rules.masked) return rules.masked ? FAULTS.unmasked : FAULTS.masked
    return undefined
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  )
}

/** Below this many bytes, a loop over bytes is faster than one over words. */
const WORDS_FROM = 32
/** The mask of {@link unmask}, turned to where the words start; as bytes and as one word in this machine's order. */
const turned = new Uint8Array(4)
const turnedWord = new Int32Array(turned.buffer)

/**
 * Applies the mask of a frame to its payload, in place. Applied twice, it restores the bytes. The mask is the 4 bytes
 * before `start`.
 *
 * @param words the same memory as `bytes`, from the same first byte; undefined if `bytes` is not aligned
 */
export function unmask(bytes: Uint8Array, words: Int32Array | undefined, start: number, length: number): void {
  const mask = start - MASK_SIZE
  const end = start + length
  let at = start
  if (words !== undefined && length >= WORDS_FROM) {
    for (; (at & 3) !== 0; at++) bytes[at] = (bytes[at] as number) ^ (bytes[mask + ((at - start) & 3)] as number)
    for (let i = 0; i < 4; i++) turned[i] = bytes[mask + ((at - start + i) & 3)] as number
    const word = turnedWord[0] as number
    const last = end >> 2
    for (let i = at >> 2; i < last; i++) words[i] = (words[i] as number) ^ word
    at = last << 2
  }
  for (; at < end; at++) bytes[at] = (bytes[at] as number) ^ (bytes[mask + ((at - start) & 3)] as number)
}

/** Returns the words of a buffer for {@link unmask}; undefined if its first byte is not at a multiple of 4. */
export function wordsOf(bytes: Uint8Array): Int32Array | undefined {
  if ((bytes.byteOffset & 3) !== 0) return undefined
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
}

/**
 * Writes the header of an unfragmented frame without a mask so that it ends at `end`, where the payload starts.
 *
 * @param end at least {@link MAX_HEADER}
 * @param rsv1 whether the payload is compressed
 * @returns the offset of its first byte
 */
export function writeHeader(bytes: Uint8Array, end: number, opcode: number, length: number, rsv1 = false): number {
  const first = FIN | (rsv1 ? RSV1 : 0) | opcode
  if (length < 126) {
    bytes[end - 2] = first
    bytes[end - 1] = length
    return end - 2
  }
  if (length < 65_536) {
    bytes[end - 4] = first
    bytes[end - 3] = 126
    bytes[end - 2] = length >> 8
    bytes[end - 1] = length
    return end - 4
  }
  bytes[end - 10] = first
  bytes[end - 9] = 127
  const high = Math.floor(length / 2 ** 32)
  for (let i = 0; i < 4; i++) {
    bytes[end - 8 + i] = high >>> (24 - 8 * i)
    bytes[end - 4 + i] = length >>> (24 - 8 * i)
  }
  return end - 10
}

/** Returns a frame in a buffer of its own, which starts at the first byte of its memory. */
export function frameOf(opcode: number, payload: Uint8Array, rsv1 = false): Buffer {
  const { length } = payload
  const size = length + (length < 126 ? 2 : length < 65_536 ? 4 : MAX_HEADER)
  const frame = Buffer.allocUnsafeSlow(size)
  frame.set(payload, size - length)
  writeHeader(frame, size - length, opcode, length, rsv1)
  return frame
}

/** Whether a close frame may carry this code. */
export function isCloseCode(code: number): boolean {
  if (!Number.isInteger(code)) return false
  if (code >= 1000 && code <= 1014) return code !== 1004 && code !== NO_CODE && code !== ABNORMAL
  return code >= 3000 && code <= 4999
}

/**
 * Returns what is wrong with the payload of a close frame, which is unmasked and empty or at least two bytes long.
 *
 * @param anyReason whether the reason need not be valid UTF-8
 */
export function closeFault(bytes: Uint8Array, start: number, length: number, anyReason = false): Fault | undefined {
  if (length === 0) return undefined
  if (!isCloseCode(closeCodeOf(bytes, start, length))) return FAULTS.closeCode
  return anyReason || isUtf8(bytes.subarray(start + 2, start + length)) ? undefined : FAULTS.utf8
}

/** Returns the code of an unmasked close frame; {@link NO_CODE} for one without a payload. */
export function closeCodeOf(bytes: Uint8Array, start: number, length: number): number {
  return length < 2 ? NO_CODE : ((bytes[start] as number) << 8) | (bytes[start + 1] as number)
}
