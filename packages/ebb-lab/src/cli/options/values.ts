/** What a person types, as values. Each throws a {@link ValueError} whose sentence says what is accepted. */

import type { Server } from '../../pulse/pulse.js'
import { parsePositive, parseTime, ValueError } from '../../units/parse.js'

export {
  parseCount,
  parseNumber,
  parsePositive,
  parsePositiveTime,
  parsePulses,
  parseShare,
  parseSize,
  parseTime,
  ValueError
} from '../../units/parse.js'

/** The time from one look to the next: from 1 ms to an hour. */
export function parsePeriod(text: string): number {
  const ms = parseTime(text)
  if (ms < 1 || ms > 3_600_000) throw new ValueError('it must be from 1ms to 1h')
  return ms
}

/** How many processes to start: each is a Node process of some 9 MB, and a number beyond this is more likely a mistake. */
export function parseProcesses(text: string): number {
  const count = parsePositive(text)
  if (count > 1024) throw new ValueError('it must be 1024 at most')
  return count
}

export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw new ValueError('a port is a whole number from 0 to 65535')
  return port
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
