/** Reads the options of `ebb/park` from `EBB_PARK_*` environment variables. */
import { milliseconds } from '../sys/duration.js'
import {
  type Environment,
  flagOf,
  readFlag,
  readVariables,
  refuse,
  type Variables,
  warnOfVariables
} from '../sys/variables.js'

/** Which servers: all, none, or those that listen on these ports. */
export type Choice = boolean | ReadonlySet<number>

/** What is parked of a server. */
export interface Parts {
  connections: boolean
  webSockets: boolean
}

/** Options of `ebb/park`. */
export interface PreloadOptions {
  /** Servers of `http` and `https`. */
  http: Choice
  /** Servers of `http` whose WebSockets of `ws` are parked. */
  webSockets: Choice
  /** Servers of `net` and `tls`. Their connections are parked until the first byte. */
  net: Choice
  /** Time without a byte, in ms, after which a connection of HTTP or a WebSocket is parked. */
  idle: number
  /** Whether WebSockets are compressed without context takeover. */
  deflate: boolean
  /** Names of properties of HTTP sockets that survive sleep. */
  carry: string[]
  /** Whether to release memory when many connections were parked or closed. */
  giveBack: boolean
  /** Whether to print a line for each server that is parked. */
  log: boolean
}

const VARIABLES: Variables<PreloadOptions> = {
  http: { name: 'EBB_PARK_HTTP', read: readChoice },
  webSockets: { name: 'EBB_PARK_WS', read: readChoice },
  net: { name: 'EBB_PARK_NET', read: readChoice },
  idle: { name: 'EBB_PARK_IDLE', read: readIdle },
  deflate: { name: 'EBB_PARK_DEFLATE', read: readFlag },
  carry: { name: 'EBB_PARK_CARRY', read: readNames },
  giveBack: { name: 'EBB_PARK_GIVE_BACK', read: readFlag },
  log: { name: 'EBB_PARK_LOG', read: readFlag }
}

const DEFAULTS: PreloadOptions = {
  http: true,
  webSockets: true,
  net: false,
  idle: 1000,
  deflate: false,
  carry: [],
  giveBack: true,
  log: true
}

const HIGHEST_PORT = 65_535

/**
 * Returns the options that the environment sets, and defaults for the others. An empty variable counts as not set.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`, whose message starts with the name of the variable
 */
export function optionsFrom(environment: Environment): PreloadOptions {
  return { ...DEFAULTS, ...readVariables(environment, VARIABLES) }
}

/** Emits a process warning `EBB_UNKNOWN_OPTION` for each `EBB_PARK_*` variable that is not known. */
export function warnOfUnknownVariables(environment: Environment): void {
  const known = Object.values(VARIABLES).map(({ name }) => name)
  warnOfVariables(environment, known, 'ebb/park', 'EBB_PARK_')
}

function readChoice(text: string, name: string): Choice {
  if (text === 'all' || text === 'none') return text === 'all'
  const flag = flagOf(text)
  if (flag !== undefined) return flag
  const ports = text.split(',').map((port) => (/^\s*\d{1,5}\s*$/.test(port) ? Number(port) : 0))
  if (ports.every((port) => port > 0 && port <= HIGHEST_PORT)) return new Set(ports)
  return refuse(name, 'all, none, or ports such as 3000 or 3000,8080', text)
}

function readIdle(text: string, name: string): number {
  return milliseconds(/^\d+(\.\d+)?$/.test(text) ? Number(text) : text, name)
}

function readNames(text: string, name: string): string[] {
  const names = text.split(',').map((part) => part.trim())
  return names.every((part) => part !== '') ? names : refuse(name, 'names of properties such as user,session', text)
}
