/** Reading headers of the PROXY protocol from the descriptors of new connections. */
import { BlockList, isIPv4, isIPv6 } from 'node:net'
import { checkObject } from '../sys/arguments.js'
import { E } from '../sys/constants.js'
import { milliseconds } from '../sys/duration.js'
import { EbbError, invalidArgument, shown } from '../sys/errors.js'
import { batchAfter } from '../sys/node/callback-scope.js'
import { peerAddress } from '../sys/socket.js'
import { peek, peeked, receiveAndDrop } from '../sys/transfer.js'
import { warnOfUnknown } from '../sys/unknown.js'
import { DECODED, decodeProxyHeader, type ProxyAddresses, proxyHeaderLength } from './proxy-header.js'

/** Which connections begin with a header of the PROXY protocol. */
export interface ProxyProtocolOptions {
  /**
   * Peers whose connections begin with a header: addresses, networks such as `10.0.0.0/8` or `fd00::/8`, and `unix` for
   * all peers of a Unix socket. The bytes of other peers are taken as they are. Default: all peers.
   */
  from?: string[]
  /**
   * Time from the first byte of a header to its last: milliseconds, or a string with a unit. Default: `'5s'`. Before
   * its first byte, a connection has the time that the server gives to any new connection.
   */
  timeout?: number | string
}

const OPTIONS = Object.keys({ from: 0, timeout: 0 } satisfies Record<keyof ProxyProtocolOptions, 0>)
/** Default of `timeout`, in ms. */
const TIMEOUT = 5000
/** Bytes that are looked at first. They hold a header without extensions. */
const FIRST_LOOK = 256
/** Bytes of the rest of a long header that are read at once. */
const CHUNK = 65_536

/** Why a connection without a valid header is closed. */
export type ProxyFailure = EbbError

/**
 * What came of reading:
 *
 * - addresses: the header is complete, and read. The bytes after it are still in the kernel.
 * - `more`: it is not complete yet.
 * - `end`, `reset`: the peer has closed the connection before its first byte, or broken it.
 * - an error: there will be no valid header.
 */
export type ProxyResult = ProxyAddresses | 'more' | 'end' | 'reset' | ProxyFailure

/** A header of which a part has arrived. */
interface Partial {
  /** Its first bytes, at most {@link DECODED} of them. */
  bytes: Buffer
  /** Bytes read. */
  received: number
  /** Length of the header; 0 while it is not known. */
  length: number
  timer: NodeJS.Timeout
}

/** Reads the headers of one server's connections. */
export class ProxyProtocol {
  readonly #trusted: BlockList | undefined
  readonly #trustsUnix: boolean
  readonly #timeout: number
  readonly #onTimeout: (fd: number, error: ProxyFailure) => void
  /** By descriptor. */
  readonly #partial = new Map<number, Partial>()

  /**
   * @param onTimeout called with a connection whose header has not arrived in time
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid
   */
  constructor(options: true | ProxyProtocolOptions, onTimeout: (fd: number, error: ProxyFailure) => void) {
    const { from, timeout = TIMEOUT } = options === true ? {} : options
    this.#timeout = milliseconds(timeout, 'timeout of proxyProtocol')
    this.#trusted = from && networksOf(from)
    this.#trustsUnix = from === undefined || from.includes('unix')
    this.#onTimeout = onTimeout
  }

  /** Whether a new connection begins with a header. */
  expectsFrom(fd: number): boolean {
    if (this.#trusted === undefined || this.#partial.has(fd)) return true
    const peer = peerAddress(fd)
    // The connection is gone, which reading from it will tell.
    if (peer === undefined) return true
    return 'path' in peer ? this.#trustsUnix : isIn(this.#trusted, peer.address)
  }

  /** Reads what has arrived of a header. */
  read(fd: number): ProxyResult {
    for (;;) {
      const partial = this.#partial.get(fd)
      const known = partial !== undefined && partial.length > 0
      const length = known ? Math.min(CHUNK, partial.length - partial.received) : FIRST_LOOK
      const received = known ? receiveAndDrop(fd, length) : peek(fd, length)
      if (received === -E.EAGAIN) return 'more'
      if (received <= 0) {
        this.forget(fd)
        if (received < 0) return 'reset'
        return partial === undefined ? 'end' : failure('the peer has closed the connection within it')
      }
      const result = known ? this.#onRest(fd, partial, received) : this.#onFirst(fd, partial, received)
      if (result !== 'more') return result
    }
  }

  /** Whether a header has arrived in part. */
  isPartial(fd: number): boolean {
    return this.#partial.has(fd)
  }

  /** Forgets a connection that is closed or given away. */
  forget(fd: number): void {
    const partial = this.#partial.get(fd)
    if (partial === undefined) return
    clearTimeout(partial.timer)
    this.#partial.delete(fd)
  }

  /** Handles bytes of a header whose length is not known, and which are still in the kernel. */
  #onFirst(fd: number, partial: Partial | undefined, received: number): ProxyResult {
    const before = partial?.bytes ?? Buffer.alloc(0)
    const bytes = Buffer.concat([before, peeked(received)])
    const length = proxyHeaderLength(bytes)
    if (length === -1) {
      this.forget(fd)
      return failure('the first bytes are not of one')
    }
    // What follows the header is not touched.
    const taken = length === 0 ? received : Math.min(received, length - before.length)
    receiveAndDrop(fd, taken)
    if (length > 0 && bytes.length >= length) return this.#finish(fd, bytes.subarray(0, length))
    const timer = partial?.timer ?? this.#startTimer(fd)
    this.#partial.set(fd, { bytes, received: bytes.length, length, timer })
    return 'more'
  }

  /** Handles bytes of a header whose length is known, and which are in the scratch buffer. */
  #onRest(fd: number, partial: Partial, received: number): ProxyResult {
    partial.received += received
    const missing = Math.max(0, DECODED - partial.bytes.length)
    if (missing > 0) partial.bytes = Buffer.concat([partial.bytes, peeked(Math.min(missing, received))])
    return partial.received < partial.length ? 'more' : this.#finish(fd, partial.bytes)
  }

  #finish(fd: number, bytes: Uint8Array): ProxyResult {
    this.forget(fd)
    return decodeProxyHeader(bytes) ?? failure('its addresses are not valid')
  }

  #startTimer(fd: number): NodeJS.Timeout {
    return batchAfter(this.#timeout, () => {
      this.forget(fd)
      const message = `the header of the PROXY protocol has not arrived within ${this.#timeout} ms`
      this.#onTimeout(fd, new EbbError('ERR_EBB_PROXY_TIMEOUT', message))
    })
  }
}

/**
 * Checks the option `proxyProtocol`.
 *
 * @returns undefined if no connection begins with a header
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
 */
export function proxyProtocolOf(
  option: boolean | ProxyProtocolOptions | undefined,
  onTimeout: (fd: number, error: ProxyFailure) => void
): ProxyProtocol | undefined {
  if (option === undefined || option === false) return undefined
  if (option !== true) {
    checkObject(option, 'proxyProtocol that is neither true nor false')
    warnOfUnknown(option, OPTIONS, 'proxyProtocol')
  }
  return new ProxyProtocol(option, onTimeout)
}

function failure(why: string): ProxyFailure {
  return new EbbError('ERR_EBB_PROXY_HEADER', `no valid header of the PROXY protocol: ${why}`)
}

function networksOf(from: unknown): BlockList {
  if (!Array.isArray(from) || from.length === 0) {
    throw invalidArgument(`from of proxyProtocol must be a list such as ['10.0.0.0/8'], not ${shown(from)}`)
  }
  const list = new BlockList()
  for (const network of from as unknown[]) if (network !== 'unix') addNetwork(list, network)
  return list
}

function addNetwork(list: BlockList, network: unknown): void {
  const [address = '', prefix, ...rest] = typeof network === 'string' ? network.split('/') : []
  const family = isIPv4(address) ? 'ipv4' : isIPv6(address) && !address.includes('%') ? 'ipv6' : undefined
  const bits = family === 'ipv4' ? 32 : 128
  const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
  if (family === undefined || rest.length > 0 || length < 0 || length > bits) {
    throw invalidArgument(
      `from of proxyProtocol must have addresses, networks such as '10.0.0.0/8', or 'unix', not ${shown(network)}`
    )
  }
  // BlockList refuses a prefix of 0 in some versions of Node.
  if (length > 0) list.addSubnet(address, length, family)
  else if (family === 'ipv4') list.addRange('0.0.0.0', '255.255.255.255', 'ipv4')
  else list.addRange('::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'ipv6')
}

/** Whether an address is in the list. A socket of both families has IPv4 peers as `::ffff:192.0.2.1`. */
function isIn(list: BlockList, address: string): boolean {
  const plain = (address.split('%', 1)[0] as string).replace(/^::ffff:(?=\d+\.)/, '')
  return list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
}
