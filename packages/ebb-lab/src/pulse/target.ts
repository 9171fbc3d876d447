/** Targets as people write them: URLs, `HOST:PORT`, or the path of a Unix socket. */
import { isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { ValueError } from '../units/parse.js'

/** Where a server listens: a host name or IP address with a port, or the path of a Unix socket. */
export type ServerAddress = { host: string; port: number } | { path: string }

/** A server, and how to speak to it. */
export interface Target {
  /** What it speaks. `tcp`: nothing in particular. */
  protocol: 'tcp' | 'http' | 'ws' | 'mqtt'
  /** Whether it speaks over TLS. */
  tls: boolean
  address: ServerAddress
  /** Value of the HTTP header `Host`. */
  authority: string
  /** Path and query of an HTTP request. */
  path: string
  /** User name and password of the URL, or null. */
  username: string | null
  password: string | null
  /** The target for people, without a password. */
  text: string
}

/** What each scheme stands for. A port of 0 has to be given. */
const SCHEMES: Record<string, { protocol: Target['protocol']; tls: boolean; port: number }> = {
  tcp: { protocol: 'tcp', tls: false, port: 0 },
  tls: { protocol: 'tcp', tls: true, port: 0 },
  http: { protocol: 'http', tls: false, port: 80 },
  https: { protocol: 'http', tls: true, port: 443 },
  ws: { protocol: 'ws', tls: false, port: 80 },
  wss: { protocol: 'ws', tls: true, port: 443 },
  mqtt: { protocol: 'mqtt', tls: false, port: 1883 },
  mqtts: { protocol: 'mqtt', tls: true, port: 8883 }
}

const FORMS =
  'a server is a URL (tcp://, tls://, http://, https://, ws://, wss://, mqtt://, mqtts:// or unix:PATH), ' +
  'HOST:PORT, [IPv6]:PORT, PORT (on 127.0.0.1) or the path of a Unix socket'

/**
 * Parses a target: a URL, `HOST:PORT`, `[IPv6]:PORT`, `:PORT`, `PORT`, `/path` or `unix:path`. The default host is
 * 127.0.0.1.
 *
 * Unlike `new URL()`, it leaves braces in the path as they are, because `{id}` stands for a number, and it accepts only
 * what it understands.
 *
 * @throws ValueError for anything else
 */
export function parseServer(text: string): Target {
  const url = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text)
  if (url !== null && url[1]?.toLowerCase() !== 'unix') return parseUrl(text, url[1] as string, url[2] as string)
  const path = /^unix:(?:\/\/(?=\/))?(.+)$/is.exec(text)?.[1] ?? (text.startsWith('/') ? text : undefined)
  if (path !== undefined) return bare({ path: checkedPath(path) })
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]/]*)):)?(\d{1,5})$/.exec(text)
  if (match === null) throw new ValueError(FORMS)
  const [, ipv6, name, digits = ''] = match
  const host = ipv6 === undefined ? checkedName(name || '127.0.0.1') : checkedIPv6(ipv6)
  return bare({ host, port: portOf(digits) })
}

/**
 * Returns the target at which clients reach a server that listens on an address.
 *
 * @param url in which `{port}` stands for the server's port; undefined for bare TCP to the address
 * @throws ValueError for a URL that is not valid, or has another port
 */
export function targetAt(url: string | undefined, address: { host: string; port: number }): Target {
  if (url === undefined) return bare(address)
  const target = parseServer(url.replaceAll('{port}', String(address.port)))
  if (portIn(target) === address.port) return target
  throw new ValueError(`the URL ${target.text} does not lead to port ${address.port} of the server: write {port} in it`)
}

/** Returns the target of a URL that may have `{port}` in place of a port. @throws ValueError if it is invalid */
export function targetOfUrl(url: string): Target {
  const target = parseServer(url.replaceAll('{port}', '1'))
  return url.includes('{port}') ? { ...target, text: target.text.replace(/:1(?=[/?]|$)/, ':{port}') } : target
}

/** Returns what such a URL stands for. @throws ValueError if it is invalid */
export function protocolOfUrl(url: string): Target['protocol'] {
  return targetOfUrl(url).protocol
}

/** Returns what clients speak at a URL, if it is more than bare TCP. @throws ValueError if the URL is invalid */
export function spokenAt(url: string | undefined): Exclude<Target['protocol'], 'tcp'> | undefined {
  const protocol = url === undefined ? 'tcp' : protocolOfUrl(url)
  return protocol === 'tcp' ? undefined : protocol
}

/** Returns the port of a URL; undefined if it has `{port}` in its place. @throws ValueError if it is invalid */
export function portOfUrl(url: string): number | undefined {
  const port = portIn(parseServer(url.replaceAll('{port}', '1')))
  return url.includes('{port}') ? undefined : port
}

function portIn({ address }: Target): number | undefined {
  return 'path' in address ? undefined : address.port
}

/** Returns the target for an address that is spoken to over bare TCP. */
export function bare(address: ServerAddress): Target {
  const authority = 'path' in address ? 'localhost' : authorityOf(address.host, address.port, 0)
  const text = 'path' in address ? address.path : `${address.host}:${address.port}`
  return { protocol: 'tcp', tls: false, address, authority, path: '/', username: null, password: null, text }
}

function parseUrl(text: string, scheme: string, rest: string): Target {
  const kind = Object.hasOwn(SCHEMES, scheme.toLowerCase()) ? SCHEMES[scheme.toLowerCase()] : undefined
  if (kind === undefined) throw new ValueError(`the scheme ${scheme}:// is not known: ${FORMS}`)
  const match = /^(?:([^/?#]*)@)?(?:\[([^\]/?#@]*)\]|([^:/?#@[\]]*))(?::(\d*))?([/?#].*)?$/s.exec(rest)
  if (match === null) throw new ValueError(`${JSON.stringify(text)} is not a URL: write ${scheme}://HOST:PORT/PATH`)
  const [, user, ipv6, name, digits = '', tail = ''] = match
  const host = ipv6 === undefined ? checkedName(name as string) : checkedIPv6(ipv6)
  if (digits === '' && kind.port === 0) throw new ValueError(`${scheme}:// has no default port: add one (:3033)`)
  const port = digits === '' ? kind.port : portOf(digits)
  const path = pathOf(tail)
  const hasPath = kind.protocol === 'http' || kind.protocol === 'ws'
  if (!hasPath && path !== '/') throw new ValueError(`${scheme}:// has no path: leave ${path} out`)
  if (kind.protocol === 'tcp' && user !== undefined) throw new ValueError(`${scheme}:// has no user: leave it out`)
  const authority = authorityOf(host, port, kind.port)
  const { protocol, tls } = kind
  return {
    protocol,
    tls,
    address: { host, port },
    authority,
    path,
    ...userOf(user),
    text: `${scheme.toLowerCase()}://${authorityOf(host, port, 0)}${hasPath ? path : ''}`
  }
}

function portOf(digits: string): number {
  const port = digits.length <= 5 ? Number(digits) : Number.NaN
  if (!(port >= 1 && port <= 65_535)) throw new ValueError(`a port is a number from 1 to 65535, not ${digits}`)
  return port
}

/** Returns a host name in ASCII. */
function checkedName(name: string): string {
  const isAscii = /^[\w.-]+$/.test(name)
  const host = isAscii ? name : /[\s%]/.test(name) ? '' : domainToASCII(name)
  if (host === '') throw new ValueError(name === '' ? 'the URL has no host' : `${JSON.stringify(name)} is no host name`)
  return host
}

function checkedIPv6(address: string): string {
  if (!isIPv6(address)) throw new ValueError(`${JSON.stringify(address)} is no IPv6 address`)
  return address
}

function checkedPath(path: string): string {
  if (path.includes('\0')) throw new ValueError('the path of a Unix socket contains no zero byte')
  return path
}

/** Returns path and query for the request line: no fragment, no spaces, ASCII only. */
function pathOf(tail: string): string {
  const [path = ''] = tail.split('#', 1)
  const encoded = path.replace(/[^\x21-\x7e]+/gu, (text) =>
    [...Buffer.from(text)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')
  )
  return encoded.startsWith('/') ? encoded : `/${encoded}`
}

function userOf(text: string | undefined): { username: string | null; password: string | null } {
  if (text === undefined) return { username: null, password: null }
  const colon = text.indexOf(':')
  const [user, password] = colon === -1 ? [text, null] : [text.slice(0, colon), text.slice(colon + 1)]
  try {
    return {
      username: decodeURIComponent(user),
      password: password === null ? null : decodeURIComponent(password)
    }
  } catch {
    throw new ValueError('the user or password of the URL has a % that begins no character: write %25 for %')
  }
}

/** Returns host and port as a URL has them, without the port if it is the default. */
function authorityOf(host: string, port: number, defaultPort: number): string {
  const name = isIPv6(host) ? `[${host}]` : host
  return port === defaultPort ? name : `${name}:${port}`
}
