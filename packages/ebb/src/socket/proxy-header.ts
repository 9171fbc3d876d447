/**
 * The header of the PROXY protocol, with which a balancer tells a server who the client is
 * (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). Version 1 is a line of text, version 2 is binary.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { parseIPv6 } from '../sys/sockaddr.js'

/**
 * The addresses of a header, {@link RECORD} bytes: the family (4 or 6), the client's address and the server's address
 * (16 bytes each; an IPv4 address takes the first 4), the client's port and the server's port (big-endian).
 */
export type ProxyRecord = Uint8Array

/** Size of a {@link ProxyRecord}, in bytes. */
export const RECORD = 37
// Where a record has its parts.
export const CLIENT_AT = 1
export const SERVER_AT = 17
export const CLIENT_PORT_AT = 33
export const SERVER_PORT_AT = 35

/** What a header says: addresses, or `own` if the connection's own addresses are right. */
export type ProxyAddresses = ProxyRecord | 'own'

/** Longest line of version 1, with CRLF. */
const LONGEST_LINE = 107
const LINE_START = Buffer.from('PROXY ')
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** Length of the fixed part of version 2: signature, command, family, and the length of the rest. */
const FIXED = 16
/** Bytes of a header that {@link decodeProxyHeader} looks at: the fixed part and two IPv6 addresses, or a line. */
export const DECODED = LONGEST_LINE

const LF = 0x0a
const CR = 0x0d

/**
 * Returns how long the header is that `bytes` begin with: at most 65,551 bytes.
 *
 * @returns 0 if more bytes are needed to know; -1 if the bytes begin no header
 */
export function proxyHeaderLength(bytes: Uint8Array): number {
  if (begins(bytes, SIGNATURE)) {
    // Version 2, in the upper half of the byte after the signature.
    if (bytes.length > SIGNATURE.length && (bytes[SIGNATURE.length] as number) >> 4 !== 2) return -1
    return bytes.length < FIXED ? 0 : FIXED + at16(bytes, 14)
  }
  if (!begins(bytes, LINE_START)) return -1
  const end = bytes.subarray(0, LONGEST_LINE).indexOf(LF)
  if (end === -1) return bytes.length < LONGEST_LINE ? 0 : -1
  return bytes[end - 1] === CR ? end + 1 : -1
}

/** Whether the bytes may be the beginning of a header. */
export function mayBeProxyHeader(bytes: Uint8Array): boolean {
  return bytes.length > 0 && proxyHeaderLength(bytes) !== -1
}

/**
 * Decodes a complete header; of a long one, its first {@link DECODED} bytes suffice.
 *
 * @returns undefined if the header is not valid
 */
export function decodeProxyHeader(bytes: Uint8Array): ProxyAddresses | undefined {
  return bytes[0] === LINE_START[0] ? decodeLine(bytes) : decodeBinary(bytes)
}

function decodeLine(bytes: Uint8Array): ProxyAddresses | undefined {
  const line = Buffer.from(bytes).toString('latin1').split('\r\n', 1)[0] as string
  const [, protocol, client = '', server = '', clientPort = '', serverPort = '', ...rest] = line.split(' ')
  // The rest of the line is to be ignored.
  if (protocol === 'UNKNOWN') return 'own'
  const isAddress = protocol === 'TCP4' ? isIPv4 : protocol === 'TCP6' ? isPlainIPv6 : undefined
  if (isAddress === undefined || !isAddress(client) || !isAddress(server)) return undefined
  if (!isPort(clientPort) || !isPort(serverPort) || rest.length > 0) return undefined
  const record = new Uint8Array(RECORD)
  record[0] = protocol === 'TCP4' ? 4 : 6
  record.set(addressBytes(client), CLIENT_AT)
  record.set(addressBytes(server), SERVER_AT)
  set16(record, CLIENT_PORT_AT, Number(clientPort))
  set16(record, SERVER_PORT_AT, Number(serverPort))
  return record
}

function isPlainIPv6(address: string): boolean {
  return isIPv6(address) && !address.includes('%')
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

function addressBytes(address: string): Uint8Array {
  return isIPv4(address) ? Uint8Array.from(address.split('.'), Number) : parseIPv6(address)
}

// The lower half of the byte after the signature.
const LOCAL = 0
const PROXY = 1

/** Numbers of the address families and transports of version 2: unspecified, IPv4, IPv6, Unix; TCP, UDP. */
const MOST_FAMILY = 3
const MOST_TRANSPORT = 2
const TCP_OVER_IPV4 = 0x11
const TCP_OVER_IPV6 = 0x21

function decodeBinary(bytes: Uint8Array): ProxyAddresses | undefined {
  const command = (bytes[12] as number) & 0x0f
  const family = bytes[13] as number
  if (command === LOCAL) return 'own'
  if (command !== PROXY || family >> 4 > MOST_FAMILY || (family & 0x0f) > MOST_TRANSPORT) return undefined
  // A client that did not come over TCP and IP has no address that a socket could show.
  if (family !== TCP_OVER_IPV4 && family !== TCP_OVER_IPV6) return 'own'
  const size = family === TCP_OVER_IPV4 ? 4 : 16
  const ports = FIXED + 2 * size
  if (at16(bytes, 14) < 2 * size + 4) return undefined
  const record = new Uint8Array(RECORD)
  record[0] = size === 4 ? 4 : 6
  record.set(bytes.subarray(FIXED, FIXED + size), CLIENT_AT)
  record.set(bytes.subarray(FIXED + size, ports), SERVER_AT)
  record.set(bytes.subarray(ports, ports + 4), CLIENT_PORT_AT)
  return record
}

/** Whether `bytes` begin with `start`, or are its beginning. */
function begins(bytes: Uint8Array, start: Uint8Array): boolean {
  const length = Math.min(bytes.length, start.length)
  for (let i = 0; i < length; i++) if (bytes[i] !== start[i]) return false
  return true
}

function at16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}

function set16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8
  bytes[at + 1] = value & 0xff
}
