/**
 * permessage-deflate (RFC 7692) for a parked connection: each message on its own, without memory between two messages.
 *
 * The server may always compress a message on its own, whatever was negotiated: the peer's window then just holds bytes
 * that nothing refers to. What a client sends is readable on its own only if `client_no_context_takeover` was
 * negotiated.
 */
import { isUtf8 } from 'node:buffer'
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib'
import type { PerMessageDeflate } from './internals.js'

/** Longer messages, in bytes, are left to `ws`, which compresses in other threads. */
export const MAX_SYNC = 16_384

/** What ends a message in the format of zlib, and is not sent. */
const TAIL = Buffer.from([0, 0, 0xff, 0xff])
const EMPTY_BLOCK = Buffer.from([0])

/** Whether a connection needs no memory of what it has received. */
export function isStateless({ params, _inflate }: PerMessageDeflate): boolean {
  return params.client_no_context_takeover === true || _inflate === null
}

/**
 * Returns the message of a compressed frame; undefined if `ws` has to read it: it is long, not valid, or more follows
 * that refers to it.
 *
 * @param maxPayload limit of the message in bytes; 0: none
 */
export function inflate(
  { params, _options: { zlibInflateOptions } }: PerMessageDeflate,
  payload: Uint8Array,
  maxPayload: number,
  isText: boolean
): Buffer | undefined {
  if (params.client_no_context_takeover !== true || payload.length > MAX_SYNC) return undefined
  let message: Buffer
  try {
    message = inflateRawSync(Buffer.concat([payload, TAIL]), {
      ...zlibInflateOptions,
      windowBits: constants.Z_DEFAULT_WINDOWBITS,
      finishFlush: constants.Z_SYNC_FLUSH,
      ...(maxPayload > 0 && { maxOutputLength: maxPayload })
    })
  } catch {
    return undefined
  }
  return isText && !isUtf8(message) ? undefined : message
}

/** The message that was compressed last. A loop that sends the same message compresses it once. */
let last:
  | { data: string; zlibDeflateOptions: object | undefined; bits: number | undefined; deflated: Buffer }
  | undefined

/** Compresses a message. @returns undefined if it cannot be compressed here; `ws` then reports why */
export function deflate(
  { params: { server_max_window_bits: bits }, _options: { zlibDeflateOptions } }: PerMessageDeflate,
  data: string | Uint8Array
): Buffer | undefined {
  if (data === last?.data && zlibDeflateOptions === last.zlibDeflateOptions && bits === last.bits) return last.deflated
  if (data.length === 0) return EMPTY_BLOCK
  let deflated: Buffer
  try {
    const options = { ...zlibDeflateOptions, windowBits: bits ?? constants.Z_DEFAULT_WINDOWBITS }
    deflated = deflateRawSync(data, { ...options, finishFlush: constants.Z_SYNC_FLUSH })
  } catch {
    return undefined
  }
  deflated = deflated.subarray(0, deflated.length - TAIL.length)
  if (typeof data === 'string') last = { data, zlibDeflateOptions, bits, deflated }
  return deflated
}
