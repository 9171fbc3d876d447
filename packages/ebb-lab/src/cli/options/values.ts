/** Parses values of the command line. Each parser throws a {@link ValueError} that says what is accepted. */

import { MAX_PROCESSES } from '../../pulse/crowd.js'
import { parseServer, type ServerAddress } from '../../pulse/target.js'
import { parsePositive, parseTime, ValueError } from '../../units/parse.js'

export {
  parseCount,
  parseNumber,
  parsePerSecond,
  parsePositive,
  parsePositiveTime,
  parsePulses,
  parseShare,
  parseSize,
  parseStages,
  parseTime,
  ValueError
} from '../../units/parse.js'
export { parseServer }

/** Parses the interval between two samples, from 1 ms to 1 h. Returns milliseconds. */
export function parsePeriod(text: string): number {
  const ms = parseTime(text)
  if (ms < 1 || ms > 3_600_000) throw new ValueError('it must be from 1ms to 1h')
  return ms
}

/** Parses a number of server processes. More than 1024 is refused as a likely typing mistake. */
export function parseProcesses(text: string): number {
  const count = parsePositive(text)
  if (count > 1024) throw new ValueError('it must be at most 1024')
  return count
}

/** Parses a number of client processes. */
export function parseProcs(text: string): number {
  const count = parsePositive(text)
  if (count > MAX_PROCESSES) throw new ValueError(`it must be a whole number from 1 to ${MAX_PROCESSES}`)
  return count
}

/** Parses how often a server is measured, from 1 to 100. */
export function parseRuns(text: string): number {
  const count = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN
  if (!(count >= 1 && count <= 100)) throw new ValueError('it must be a whole number from 1 to 100')
  return count
}

/** Parses a TCP port from 0 to 65535. */
export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw new ValueError('a port is a whole number from 0 to 65535')
  return port
}

/** Parses a process id. */
export function parsePid(text: string): number {
  const pid = /^\d+$/.test(text) ? Number(text) : 0
  if (!Number.isSafeInteger(pid) || pid === 0) throw new ValueError('a process id is a whole number above 0')
  return pid
}

/** Parses where a server listens, as {@link parseServer} does, without a protocol. */
export function parseAddress(text: string): ServerAddress {
  const { protocol, tls, address } = parseServer(text)
  if (protocol !== 'tcp' || tls) throw new ValueError('it must be HOST:PORT: give the URL with --url')
  return address
}

/** Returns a parser that accepts one of two words. */
export function either<A extends string, B extends string>(one: A, other: B): (text: string) => A | B {
  return (text) => {
    if (text !== one && text !== other) throw new ValueError(`it must be ${one} or ${other}`)
    return text as A | B
  }
}

/** Parses `NAME=COMMAND`. `/bin/sh` runs the command. */
export function parseTarget(text: string): { name: string; command: string[] } {
  const at = text.indexOf('=')
  const name = text.slice(0, at).trim()
  const command = text.slice(at + 1).trim()
  if (at === -1 || name === '' || command === '') {
    throw new ValueError('a target is NAME=COMMAND: --target "mine=node server.js {port}"')
  }
  return { name, command: shellCommand(command) }
}

/** Returns the program and arguments that run a command line in a shell. */
export function shellCommand(command: string): string[] {
  return ['/bin/sh', '-c', command]
}
