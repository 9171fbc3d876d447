/** Finds the address of a host name at which a server answers. */
import { lookup } from 'node:dns/promises'
import { connect, isIP } from 'node:net'

/** At least one address. */
export type Addresses = readonly [string, ...string[]]

/** Head start of an address over the next one, ms: the "Connection Attempt Delay" that RFC 8305 recommends. */
const HEAD_START = 250

/** `localhost` and names below it, which are loopback by RFC 6761. */
const LOCALHOST = /(?:^|\.)localhost\.?$/i

/**
 * Returns all IP addresses of a host, IPv4 first. `localhost` has both loopback addresses, even where `/etc/hosts`
 * lists only one. Throws the error of `dns.lookup` for a name that is not known.
 */
export async function addressesOf(host: string): Promise<Addresses> {
  if (isIP(host) !== 0) return [host]
  const found = (await lookup(host, { all: true, verbatim: false })).map(({ address }) => address)
  const [first = host, ...others] = new Set([...found, ...(LOCALHOST.test(host) ? ['127.0.0.1', '::1'] : [])])
  return [first, ...others]
}

/**
 * Returns the addresses that can be reached from at least one of the source addresses, because both are IPv4 or both
 * IPv6. Without sources, or if none fits, returns all.
 */
export function addressesFor(addresses: Addresses, sources: readonly string[]): Addresses {
  const [first, ...others] = addresses.filter((address) => sources.some((source) => isIP(source) === isIP(address)))
  return first === undefined ? addresses : [first, ...others]
}

/**
 * Returns the first address that accepts a connection on the port. Tries the next address when one fails, or when it
 * has not answered within 250 ms, as browsers do (RFC 8305). Returns the first address if none answers. A single
 * address is not tried.
 *
 * @param timeout milliseconds after which no answer is awaited any more
 */
export async function answeringAddress(
  [first, ...others]: Addresses,
  port: number,
  timeout: number,
  signal?: AbortSignal
): Promise<string> {
  if (others.length === 0) return first
  const over = new AbortController()
  const stop = AbortSignal.any([over.signal, AbortSignal.timeout(timeout), ...(signal === undefined ? [] : [signal])])
  const waiting = [first, ...others]
  const attempts: Promise<string>[] = []
  try {
    for (let host = waiting.shift(); host !== undefined && !stop.aborted; host = waiting.shift()) {
      const attempt = tryConnect(host, port, stop)
      attempt.catch(() => {})
      attempts.push(attempt)
      const answered = await Promise.race([...attempts.map(settled), delay(HEAD_START, attempt)])
      if (answered !== undefined) return answered
    }
    return await Promise.any(attempts).catch(() => first)
  } finally {
    over.abort()
  }
}

/** Resolves with the value of a promise. Never settles if the promise rejects. */
function settled<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve) => promise.then(resolve, () => {}))
}

/** Resolves after `ms`, or when the attempt fails. */
function delay(ms: number, attempt: Promise<unknown>): Promise<undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, undefined)
    const end = (): void => {
      clearTimeout(timer)
      resolve(undefined)
    }
    attempt.then(() => clearTimeout(timer), end)
  })
}

/** Connects and closes the connection. Resolves with the host. */
function tryConnect(host: string, port: number, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port })
    const end = (): void => {
      socket.destroy()
      reject(signal.reason)
    }
    signal.addEventListener('abort', end, { once: true })
    socket.once('error', reject)
    socket.once('connect', () => {
      signal.removeEventListener('abort', end)
      socket.destroy()
      resolve(host)
    })
  })
}
