/**
 * What another process needs to go on with a parked WebSocket connection: written as bytes of Latin-1, and read with
 * distrust.
 *
 *     byte 0       flags of `states.ts`
 *     bytes 1, 2   length of the owner's name, which follows as UTF-8
 *     ...          sections, in any order: kind (1 byte), length (4 bytes), content. Most connections have none
 */
import { isCloseCode, MAX_CONTROL, NO_CODE } from './frames.js'
import { broken } from './orders.js'
import { CLOSE_RECEIVED, CLOSE_SENT, ENDING, FAILED, INCOMPLETE, PEER_ENDED, QUEUED } from './states.js'

/** Flags of connections that can move. */
export const MOVABLE = CLOSE_SENT | CLOSE_RECEIVED | FAILED | PEER_ENDED | QUEUED | INCOMPLETE | ENDING

/** Bytes before the owner's name, and before the content of a section. */
const FIXED = 3
const PREFIX = 5
/** Size of a state, in bytes, without the name of its owner and what is in large sections. */
export const LEAST_SIZE = 64

// Kinds of sections.
const CLOSING = 1
const MESSAGE = 2
const REST = 3
const QUEUE = 4
const PONG = 5
const OWN = 6

/** The state of a connection. What it does not have is undefined. */
export interface MovedState {
  flags: number
  /** Name of the owner. */
  owner: string
  /** The peer's close frame. */
  closing: { code: number; reason: Buffer } | undefined
  /** Payload of an incomplete message, and its opcode. */
  message: { opcode: number; bytes: Buffer } | undefined
  /** An incomplete frame, as received. */
  rest: Buffer | undefined
  /** Bytes that wait for a slow reader. */
  queue: Buffer | undefined
  /** A pong that is sent after them. */
  pong: Uint8Array | undefined
  /** What the owner needs, as bytes of Latin-1. */
  own: string
}

/** Returns a state as bytes of Latin-1. */
export function encodeState({ flags, owner, closing, message, rest, queue, pong, own }: MovedState): string {
  const name = Buffer.from(owner).toString('latin1')
  let state = String.fromCharCode(flags, name.length & 255, name.length >> 8) + name
  if (closing !== undefined) state += section(CLOSING, number16(closing.code) + latin1(closing.reason))
  if (message !== undefined) state += section(MESSAGE, String.fromCharCode(message.opcode) + latin1(message.bytes))
  if (rest !== undefined) state += section(REST, latin1(rest))
  if (queue !== undefined) state += section(QUEUE, latin1(queue))
  if (pong !== undefined) state += section(PONG, latin1(pong))
  if (own !== '') state += section(OWN, own)
  return state
}

function section(kind: number, content: string): string {
  const { length } = content
  return String.fromCharCode(kind) + number16(length & 0xffff) + number16(length >>> 16) + content
}

function number16(value: number): string {
  return String.fromCharCode(value & 255, value >> 8)
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** Returns the name of the owner. @throws {EbbError} `ERR_EBB_HANDOVER` */
export function ownerOf(state: string): string {
  const end = FIXED + byte(state, 1) + 256 * byte(state, 2)
  if (end > state.length) throw broken('it is cut')
  return Buffer.from(state.slice(FIXED, end), 'latin1').toString()
}

/**
 * Returns a state that {@link encodeState} has made.
 *
 * @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid
 */
export function decodeState(state: string): MovedState {
  const flags = byte(state, 0)
  if ((flags & ~MOVABLE) !== 0) throw broken('it has flags that no connection has that moves')
  const owner = ownerOf(state)
  const sections = readSections(state, FIXED + byte(state, 1) + 256 * byte(state, 2))
  const result: MovedState = {
    flags,
    owner,
    closing: closingOf(sections.get(CLOSING)),
    message: messageOf(sections.get(MESSAGE)),
    rest: sections.get(REST),
    queue: sections.get(QUEUE),
    pong: sections.get(PONG),
    own: sections.get(OWN)?.toString('latin1') ?? ''
  }
  checkFlags(result)
  return result
}

function checkFlags({ flags, closing, message, rest, queue, pong }: MovedState): void {
  const incomplete = message !== undefined || rest !== undefined
  if (((flags & CLOSE_RECEIVED) !== 0) !== (closing !== undefined)) throw broken('a close frame is missing')
  if (incomplete && (flags & INCOMPLETE) === 0) throw broken('a message is not expected')
  if (((flags & QUEUED) !== 0) !== (queue !== undefined)) throw broken('what waits is missing')
  if (pong !== undefined && queue === undefined) throw broken('a pong is not expected')
}

function readSections(state: string, start: number): Map<number, Buffer> {
  const sections = new Map<number, Buffer>()
  for (let at = start; at < state.length; ) {
    const kind = byte(state, at)
    let length = 0
    for (let i = 4; i > 0; i--) length = 256 * length + byte(state, at + i)
    const end = at + PREFIX + length
    if (end > state.length) throw broken('it is cut')
    if (kind < CLOSING || kind > OWN || sections.has(kind)) throw broken(`section ${kind} is not expected`)
    sections.set(kind, Buffer.from(state.slice(at + PREFIX, end), 'latin1'))
    at = end
  }
  return sections
}

function closingOf(content: Buffer | undefined): MovedState['closing'] {
  if (content === undefined) return undefined
  if (content.length < 2 || content.length > MAX_CONTROL) throw broken('a close frame has a wrong size')
  const code = content.readUInt16LE(0)
  if (code !== NO_CODE && !isCloseCode(code)) throw broken('the code of a close frame is not valid')
  return { code, reason: content.subarray(2) }
}

function messageOf(content: Buffer | undefined): MovedState['message'] {
  if (content === undefined) return undefined
  const opcode = content[0]
  if (opcode !== 1 && opcode !== 2) throw broken('a message has no opcode')
  return { opcode, bytes: content.subarray(1) }
}

function byte(state: string, at: number): number {
  if (at >= state.length) throw broken('it is cut')
  return state.charCodeAt(at)
}
