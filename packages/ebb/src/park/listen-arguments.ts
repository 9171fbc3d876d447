/** The arguments of `server.listen()`, in all the forms that Node takes. */
import type { ListenOptions as NodeListenOptions } from 'node:net'
import { namesHandle } from './node/server.js'

/** A call of `server.listen()` with an address. */
export interface ListenRequest {
  options: NodeListenOptions & { reusePort?: boolean }
  callback: (() => void) | undefined
}

/** Parses the arguments. @returns undefined if they name a handle or a descriptor: Node handles those */
export function parseListenArguments(args: unknown[]): ListenRequest | undefined {
  const last = args.at(-1)
  const callback = typeof last === 'function' ? (last as () => void) : undefined
  const [first, second, third] = args
  if (typeof first === 'object' && first !== null) {
    return namesHandle(first) ? undefined : { options: { ...first }, callback }
  }
  const backlog = toNumber(second) || toNumber(third)
  const options: NodeListenOptions = backlog > 0 ? { backlog } : {}
  if (typeof first === 'string' && Number.isNaN(Number(first))) {
    return { options: { ...options, path: first }, callback }
  }
  if (typeof first !== 'number' && typeof first !== 'string') return { options: { ...options, port: 0 }, callback }
  return {
    options: { ...options, port: Number(first), ...(typeof second === 'string' && { host: second }) },
    callback
  }
}

function toNumber(value: unknown): number {
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : 0
}
