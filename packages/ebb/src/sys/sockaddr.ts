/** Socket addresses, to and from the kernel's format (`man 7 ip`, `ipv6`, `unix`). */
import { isIPv4, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { invalidArgument, shown } from './errors.js'
import { AF_INET, AF_INET6, AF_UNIX, addressOf } from './libc.js'

/**
 * A socket address: a literal IP address and a port, or the path of a Unix socket. A path that begins with NUL is
 * abstract.
 */
export type Address = { host: string; port: number } | { path: string }

/** A socket address in the form of `net.Server.address()`. The `path` of an unnamed Unix socket is empty. */
export type AddressInfo =
  | {
      /** IP address, such as `127.0.0.1` or `::1`. */
      address: string
      /** Family of `address`. */
      family: 'IPv4' | 'IPv6'
      /** Port, 0 to 65535. */
      port: number
    }
  | {
      /** Path of a Unix socket. It begins with NUL for a socket in the abstract namespace. */
      path: string
    }

/** Size in bytes that holds any address: `sizeof(struct sockaddr_storage)`. */
export const SOCKADDR_SIZE = 128

/** `sizeof(sun_path)`, including the terminating NUL. */
const PATH_SIZE = 108
/** Longest path of a Unix socket, in bytes. */
export const LONGEST_SOCKET_PATH = PATH_SIZE - 1

/** A socket address in the kernel's format. `pointer` is valid as long as this object is referenced. */
export class SocketAddress {
  /** `AF_INET`, `AF_INET6` or `AF_UNIX`. */
  readonly family: number
  /** The `sockaddr`. */
  readonly bytes: Buffer
  /** Address of `bytes` in memory. */
  readonly pointer: number

  /** @throws {TypeError} for a host that is not an IP literal, a port out of range, or a path that is too long */
  constructor(address: Address) {
    this.bytes = 'path' in address ? encodePath(address.path) : encodeIp(address.host, address.port)
    this.family = readFamily(this.bytes)
    this.pointer = addressOf(this.bytes)
  }

  /** Size of `bytes`. */
  get length(): number {
    return this.bytes.length
  }
}

/** Decodes a `sockaddr` that the kernel filled in: the first `length` bytes of `bytes`. */
export function decodeAddress(bytes: Uint8Array, length: number): AddressInfo {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, length)
  const family = length < 2 ? AF_UNIX : readFamily(view)
  if (family === AF_INET) {
    return { address: view.subarray(4, 8).join('.'), family: 'IPv4', port: view.readUInt16BE(2) }
  }
  if (family === AF_INET6) {
    const scope = readUInt32(view, 24)
    const address = formatIPv6(view.subarray(8, 24)) + (scope === 0 ? '' : `%${scopeName(scope)}`)
    return { address, family: 'IPv6', port: view.readUInt16BE(2) }
  }
  const path = view.subarray(2)
  // A path in the file system ends at its NUL. An abstract name begins with NUL and takes the rest of the address.
  const end = path[0] === 0 ? -1 : path.indexOf(0)
  return { path: path.toString('utf8', 0, end === -1 ? path.length : end) }
}

/** Formats an address for messages: `127.0.0.1:80`, `[::1]:80`, a path, or `@name` for an abstract one. */
export function formatAddress(address: Address | AddressInfo): string {
  if ('path' in address) return address.path.startsWith('\0') ? `@${address.path.slice(1)}` : address.path
  const host = 'host' in address ? address.host : address.address
  return host.includes(':') ? `[${host}]:${address.port}` : `${host}:${address.port}`
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

// `sa_family` and `sin6_scope_id` are in host byte order; ports and addresses are in network byte order.
function readFamily(bytes: Buffer): number {
  return littleEndian ? bytes.readUInt16LE(0) : bytes.readUInt16BE(0)
}

function writeFamily(bytes: Buffer, family: number): void {
  if (littleEndian) bytes.writeUInt16LE(family, 0)
  else bytes.writeUInt16BE(family, 0)
}

function readUInt32(bytes: Buffer, at: number): number {
  return littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)
}

function writeUInt32(bytes: Buffer, value: number, at: number): void {
  if (littleEndian) bytes.writeUInt32LE(value, at)
  else bytes.writeUInt32BE(value, at)
}

function encodeIp(host: string, port: number): Buffer {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw invalidArgument(`port must be a whole number from 0 to 65535, not ${shown(port)}`)
  }
  if (typeof host !== 'string') throw invalidArgument(`host must be a string, not ${shown(host)}`)
  if (isIPv4(host)) {
    const bytes = Buffer.alloc(16)
    writeFamily(bytes, AF_INET)
    bytes.writeUInt16BE(port, 2)
    bytes.set(host.split('.').map(Number), 4)
    return bytes
  }
  if (isIPv6(host)) {
    const [literal = '', zone] = host.split('%')
    const bytes = Buffer.alloc(28)
    writeFamily(bytes, AF_INET6)
    bytes.writeUInt16BE(port, 2)
    bytes.set(parseIPv6(literal), 8)
    if (zone !== undefined) writeUInt32(bytes, scopeNumber(zone), 24)
    return bytes
  }
  throw invalidArgument(`host must be an IPv4 or IPv6 address, not ${shown(host)}`)
}

function encodePath(path: string): Buffer {
  if (typeof path !== 'string') throw invalidArgument(`path of a Unix socket must be a string, not ${shown(path)}`)
  const name = Buffer.from(path)
  const abstract = name[0] === 0
  const length = name.length + (abstract ? 0 : 1)
  if (name.length === 0 || length > PATH_SIZE) {
    throw invalidArgument(`path of a Unix socket must be 1 to ${PATH_SIZE - 1} bytes long, not ${name.length}`)
  }
  if (!abstract && name.includes(0)) throw invalidArgument('path of a Unix socket must not contain NUL')
  const bytes = Buffer.alloc(2 + length)
  writeFamily(bytes, AF_UNIX)
  name.copy(bytes, 2)
  return bytes
}

/** Parses a literal that `isIPv6` has accepted to its 16 bytes. */
export function parseIPv6(literal: string): Uint8Array {
  // The last 32 bits may be written as IPv4: ::ffff:127.0.0.1
  const text = literal.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number)
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const [head = '', tail] = text.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const bytes = Buffer.alloc(16)
  for (const [i, group] of before.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * i)
  for (const [i, group] of after.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), 16 - 2 * (after.length - i))
  return bytes
}

/** Formats an IPv6 address in its shortest form (RFC 5952). */
export function formatIPv6(bytes: Buffer): string {
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes.readUInt16BE(10) === 0xffff
  if (mapped) return `::ffff:${bytes.subarray(12, 16).join('.')}`
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16))
  // The longest run of two or more zero groups becomes `::`. Of two equally long runs, the first does.
  let [start, length] = [0, 1]
  for (let i = 0; i < 8; i++) {
    let run = 0
    while (i + run < 8 && groups[i + run] === '0') run++
    if (run > length) [start, length] = [i, run]
  }
  if (length < 2) return groups.join(':')
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`
}

function scopeNumber(zone: string): number {
  if (/^\d+$/.test(zone) && Number(zone) < 2 ** 32) return Number(zone)
  const scopes = networkInterfaces()[zone]?.flatMap((info) => (info.family === 'IPv6' ? [info.scopeid] : []))
  if (scopes === undefined || scopes.length === 0)
    throw invalidArgument(`no network interface ${JSON.stringify(zone)} with IPv6`)
  // Only the link-local address of an interface has the interface's number; its other addresses have 0.
  return Math.max(...scopes)
}

function scopeName(scope: number): string {
  for (const [name, infos] of Object.entries(networkInterfaces())) {
    if (infos?.some((info) => info.family === 'IPv6' && info.scopeid === scope)) return name
  }
  return String(scope)
}
