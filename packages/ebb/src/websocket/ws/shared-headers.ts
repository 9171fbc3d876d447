/**
 * Headers of requests that the application keeps as long as their connections, as socket.io does. Node makes a string
 * for each header of each request, although most clients send the same ones. Here, equal strings become one.
 */
import type { IncomingMessage } from 'node:http'

/** Headers whose values are the same for many clients, and tell nothing of one of them. */
const COMMON = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'cache-control',
  'connection',
  'dnt',
  'host',
  'origin',
  'pragma',
  'sec-fetch-dest',
  'sec-fetch-mode',
  'sec-fetch-site',
  'sec-gpc',
  'sec-websocket-extensions',
  'sec-websocket-protocol',
  'sec-websocket-version',
  'upgrade',
  'user-agent'
])
/** Headers whose names are shared, but not their values. */
const UNIQUE = ['authorization', 'cookie', 'sec-websocket-key', 'x-forwarded-for', 'x-real-ip']

/** Longer values, in characters, are left as they are. */
const LONGEST = 256
/** Values that are known at a time, so that clients cannot fill the memory. */
const MOST = 512

/** Names as clients write them, by themselves. */
const names = new Map<string, { name: string; isCommon: boolean }>()
/** Values, by themselves. The oldest goes first. */
const values = new Map<string, string>()

/** Has the headers of a request share their strings with those of other requests. The request stays the same. */
export function shareHeaders({ rawHeaders, headers }: IncomingMessage): void {
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const known = knownName(rawHeaders[i] as string)
    if (known === undefined) continue
    rawHeaders[i] = known.name
    if (known.isCommon) rawHeaders[i + 1] = sharedValue(rawHeaders[i + 1] as string)
  }
  for (const name in headers) {
    const value = headers[name]
    if (typeof value === 'string' && COMMON.has(name)) headers[name] = sharedValue(value)
  }
}

function knownName(name: string): { name: string; isCommon: boolean } | undefined {
  let known = names.get(name)
  if (known === undefined) {
    const lower = name.toLowerCase()
    const isCommon = COMMON.has(lower)
    if (names.size === MOST || (!isCommon && !UNIQUE.includes(lower))) return undefined
    known = { name, isCommon }
    names.set(name, known)
  }
  return known
}

function sharedValue(value: string): string {
  const known = values.get(value)
  if (known !== undefined) return known
  if (value.length > LONGEST) return value
  if (values.size === MOST) values.delete(values.keys().next().value as string)
  values.set(value, value)
  return value
}
