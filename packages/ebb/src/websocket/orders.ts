/** What is passed on to the process that has a WebSocket connection, during a handover. */
import { EbbError } from '../sys/errors.js'
import { isCloseCode, MAX_CONTROL, NO_CODE } from './frames.js'

/** Sends a message or a ping to a connection, or closes it. */
export interface WebSocketOrder {
  kind: 'text' | 'binary' | 'ping' | 'close'
  /** Name of the owner of the connections. */
  owner: string
  /** Only connections with this tag are meant. */
  tag?: string | undefined
  /** Code of the close frame; {@link NO_CODE}: none. */
  code?: number
  /** The message, the payload of the ping, or the reason of the close frame. */
  data: Uint8Array
}

/** Size of the length of the head, in bytes. */
const PREFIX = 2
const KINDS: readonly string[] = ['text', 'binary', 'ping', 'close'] satisfies WebSocketOrder['kind'][]

/** Returns an order as bytes: the length of its head, the head as JSON, and the data. */
export function encodeOrder({ data, ...head }: WebSocketOrder): Buffer {
  const text = Buffer.from(JSON.stringify(head))
  const length = Buffer.alloc(PREFIX)
  length.writeUInt16LE(text.length)
  return Buffer.concat([length, text, data])
}

/** Returns an order that {@link encodeOrder} has made. @throws {EbbError} `ERR_EBB_HANDOVER` if it is not valid */
export function decodeOrder(bytes: Buffer): WebSocketOrder {
  const end = bytes.length < PREFIX ? 0 : PREFIX + bytes.readUInt16LE(0)
  if (end === 0 || end > bytes.length) throw broken('an order is cut')
  const { kind, owner, tag, code = NO_CODE } = parsed(bytes.toString('utf8', PREFIX, end))
  const data = bytes.subarray(end)
  if (typeof kind !== 'string' || !KINDS.includes(kind)) throw broken('an order is not known')
  if (typeof owner !== 'string' || (tag !== undefined && typeof tag !== 'string')) throw broken('an order has no owner')
  if (typeof code !== 'number' || (code !== NO_CODE && !isCloseCode(code))) throw broken('a code is not valid')
  if ((kind === 'ping' && data.length > MAX_CONTROL) || (kind === 'close' && data.length > MAX_CONTROL - 2)) {
    throw broken('a control frame is too long')
  }
  return { kind: kind as WebSocketOrder['kind'], owner, tag, code, data }
}

function parsed(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw broken('an order is not JSON')
  }
  if (typeof value !== 'object' || value === null) throw broken('an order is not an object')
  return value as Record<string, unknown>
}

/** Makes the error for a state, or an order, that cannot be what another process has made. */
export function broken(what: string): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `the other process sent a WebSocket that is not valid: ${what}`)
}
