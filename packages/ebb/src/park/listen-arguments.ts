/** The arguments of `server.listen()`, in all the forms that Node takes. */
import type { ListenOptions as NodeListenOptions } from 'node:net'
import { listenTarget, namesHandle } from './node/server.js'

/** A call of `server.listen()` with an address. */
export interface ListenRequest {
  options: NodeListenOptions & { reusePort?: boolean }
  /** The TCP port; undefined for a path, and for arguments that Node refuses. */
  port: number | undefined
  /** The path of a Unix socket; undefined for a port, and for arguments that Node refuses. */
  path: string | undefined
  /** Length of the backlog; undefined for the default. */
  backlog: number | undefined
  callback: (() => void) | undefined
}

/** Parses the arguments. @returns undefined if they name a handle or a descriptor: Node handles those */
export function parseListenArguments(args: unknown[]): ListenRequest | undefined {
  const last = args.at(-1)
  const callback = typeof last === 'function' ? (last as () => void) : undefined
  const options = toOptions(args)
  if (namesHandle(options)) return undefined
  const port = isValid(options) ? toPort(options, args) : undefined
  const path = isValid(options) && !namesPort(options, args) && isPath(options.path) ? options.path : undefined
  // Node ignores a negative number among the arguments, but not in the options.
  const second = toBacklog(Math.max(0, toNumber(args[1])))
  const backlog = toBacklog(options.backlog) || second || toBacklog(Math.max(0, toNumber(args[2])))
  return { options, port, path, backlog: backlog || undefined, callback }
}

function toOptions(args: unknown[]): ListenRequest['options'] {
  const [first, second] = args
  if (typeof first === 'object' && first !== null) return listenTarget(first)
  if (isPath(first)) return { path: first }
  return { port: first as number, ...(typeof second === 'string' && { host: second }) }
}

/** Whether Node accepts the signal. Otherwise it throws, before it binds. */
function isValid({ signal }: ListenRequest['options']): boolean {
  return signal === undefined || (typeof signal === 'object' && signal !== null && 'aborted' in signal)
}

/** Whether the arguments name a port, and not a path: a missing port is port 0. */
function namesPort(options: ListenRequest['options'], args: unknown[]): boolean {
  const { port } = options as { port: unknown }
  if (args.length === 0 || typeof args[0] === 'function' || port === null) return true
  return port === undefined ? 'port' in options : typeof port === 'number' || typeof port === 'string'
}

/** Returns the port; undefined if Node refuses it, or its host. */
function toPort(options: ListenRequest['options'], args: unknown[]): number | undefined {
  if (!namesPort(options, args)) return undefined
  const { port, host } = options as { port: unknown; host: unknown }
  if (host && typeof host !== 'string') return undefined
  if (typeof port !== 'number' && typeof port !== 'string') return 0
  if (typeof port === 'string' && port.trim() === '') return undefined
  const number = Number(port)
  return Number.isInteger(number) && number >= 0 && number < 65_536 ? number : undefined
}

/** Whether a value is a path for Node. A text that is a number from 0 on is a port. */
function isPath(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !(Number(value) >= 0)
}

/** Returns the length of a backlog; 0 for the default. To the kernel, a negative length is the longest. */
function toBacklog(value: unknown): number {
  const length = toNumber(value) | 0
  return length < 0 ? 2 ** 31 - 1 : length
}

function toNumber(value: unknown): number {
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : 0
}
