/** What a person types, as values. Each throws a {@link ValueError} whose sentence says what is accepted. */
import type { Server } from '../pulse/pulse.js'

export class ValueError extends Error {
  readonly code = 'ERR_INVALID_ARG_VALUE'
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A time in seconds, or with a unit (`250ms`, `4`, `2m`, `1.5h`), as milliseconds. */
export function parseTime(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?$/.exec(text.trim())
  const ms = match === null ? Number.NaN : Number(match[1]) * (UNITS[match[2] ?? 's'] as number)
  if (!Number.isFinite(ms)) throw new ValueError('a time is a number of seconds, or has a unit: 4, 0.5, 250ms, 2m, 1h')
  return ms
}

/** As {@link parseTime}, and not 0. */
export function parsePositiveTime(text: string): number {
  const ms = parseTime(text)
  if (ms === 0) throw new ValueError('it must be more than no time: 0.5, 250ms, 2m')
  return ms
}

/** The time from one look to the next: from 1 ms to an hour. */
export function parsePeriod(text: string): number {
  const ms = parseTime(text)
  if (ms < 1 || ms > 3_600_000) throw new ValueError('it must be from 1ms to 1h')
  return ms
}

/** A whole number from 0 on; `10k` is 10,000. */
export function parseCount(text: string): number {
  const match = /^(\d[\d_]*)(k)?$/.exec(text.trim())
  const count = match === null ? Number.NaN : Number(match[1]?.replaceAll('_', '')) * (match[2] === 'k' ? 1000 : 1)
  if (!Number.isSafeInteger(count)) throw new ValueError('it must be a whole number from 0 on: 1000, 10k')
  return count
}

/** As {@link parseCount}, from 1 on. */
export function parsePositive(text: string): number {
  const count = parseCount(text)
  if (count === 0) throw new ValueError('it must be 1 or more')
  return count
}

/** A count, or `forever`. */
export function parsePulses(text: string): number {
  return text === 'forever' ? Number.POSITIVE_INFINITY : parseCount(text)
}

export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw new ValueError('a port is a whole number from 0 to 65535')
  return port
}

/** A share: `10%` or `0.1`. */
export function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)(%)?$/.exec(text.trim())
  const share = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1)
  if (!(share <= 1)) throw new ValueError('a share is a percentage up to 100%, or a number from 0 to 1')
  return share
}

/** A number above 0, with or without a fraction. */
export function parseNumber(text: string): number {
  const number = /^(\d+(?:\.\d+)?|\.\d+)$/.test(text.trim()) ? Number(text) : Number.NaN
  if (!(number > 0 && Number.isFinite(number))) throw new ValueError('it must be a number above 0')
  return number
}

export function parsePid(text: string): number {
  const pid = /^\d+$/.test(text) ? Number(text) : 0
  if (!Number.isSafeInteger(pid) || pid === 0) throw new ValueError('a process id is a whole number above 0')
  return pid
}

/** `HOST:PORT`, `[::1]:PORT`, `:PORT`, `PORT`, `/path` or `unix:path`. Without a host: 127.0.0.1. */
export function parseServer(text: string): Server {
  if (/^unix:./s.test(text)) return { path: text.slice(5) }
  if (text.startsWith('/')) return { path: text }
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]/]*)):)?(\d{1,5})$/.exec(text)
  const port = Number(match?.[3] ?? Number.NaN)
  if (match === null || !(port >= 1 && port <= 65_535)) {
    throw new ValueError('a server is HOST:PORT, [IPv6]:PORT, PORT (on 127.0.0.1) or the path of a Unix socket')
  }
  return { host: match[1] || match[2] || '127.0.0.1', port }
}

/** A parser of one word out of two: `it is fin or rst`. */
export function either<A extends string, B extends string>(one: A, other: B): (text: string) => A | B {
  return (text) => {
    if (text !== one && text !== other) throw new ValueError(`it is ${one} or ${other}`)
    return text as A | B
  }
}

/** `NAME=COMMAND`; the command is the shell's. */
export function parseTarget(text: string): { name: string; command: string[] } {
  const at = text.indexOf('=')
  const name = text.slice(0, at).trim()
  const command = text.slice(at + 1).trim()
  if (at === -1 || name === '' || command === '') {
    throw new ValueError('a target is NAME=COMMAND: --target "mine=node server.js {port}"')
  }
  return { name, command: ['/bin/sh', '-c', command] }
}
