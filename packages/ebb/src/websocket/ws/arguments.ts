/** Arguments of the methods of a WebSocket. */
import { isUint8Array } from 'node:util/types'
import type { SendCallback } from '../handlers.js'

const EMPTY = Buffer.alloc(0)

/** Returns data as `ws` sends it; undefined for kinds that are left to `ws`. */
export function payloadOf(data: unknown): string | Uint8Array | undefined {
  if (typeof data === 'string') return data
  if (typeof data === 'number') return String(data)
  if (isUint8Array(data)) return data
  if (!data) return EMPTY
  if (data instanceof ArrayBuffer) return new Uint8Array(data)
  return ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : undefined
}

/** Returns an option of `send()`. An option that is present counts even if it is undefined, as in `ws`. */
export function isSet(options: unknown, name: string, byDefault: boolean): boolean {
  if (typeof options !== 'object' || options === null || !(name in options)) return byDefault
  return Boolean((options as Record<string, unknown>)[name])
}

export function callbackOf(value: unknown): SendCallback | undefined {
  return typeof value === 'function' ? (value as SendCallback) : undefined
}
