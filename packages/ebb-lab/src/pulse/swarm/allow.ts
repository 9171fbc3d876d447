/**
 * The servers that an agent may connect to.
 *
 * The check applies to IP addresses, and the agent connects to the very address that was checked. So a host name that
 * resolves to another address later does not get around the check.
 */
import { BlockList, isIP } from 'node:net'
import { invalidArgument } from 'ebb/sys'
import { LabError } from '../../units/errors.js'
import { addressesOf } from '../addresses.js'

/** A server that an agent may be asked to connect to. */
export interface Endpoint {
  /** Host name or IP address. */
  host: string
  /** TCP port, 1 to 65535. */
  port: number
}

/** Returns all addresses of a host. */
export type Lookup = (host: string) => Promise<readonly string[]>

/** The agent must not connect to a server, because its owner did not allow it. */
class NotAllowedError extends LabError {
  override readonly name = 'NotAllowedError'

  constructor(message: string) {
    super(message, 'EACCES')
  }
}

/** Maximum number of addresses of one host name to check. */
const MAX_ADDRESSES = 64

/** A list of servers and networks. */
export class AllowList {
  readonly #networks = new BlockList()
  readonly #endpoints: Endpoint[] = []
  readonly #text: string
  readonly #lookup: Lookup

  /**
   * @param entries `HOST:PORT`, `[IPv6]:PORT`, or a network in CIDR notation, such as `10.0.0.0/8`, which allows every
   *   port. Default: the loopback addresses of this machine
   * @throws TypeError for an entry of another form
   */
  constructor(entries: readonly string[] = [], lookup: Lookup = addressesOf) {
    this.#lookup = lookup
    for (const entry of entries.length === 0 ? ['127.0.0.0/8', '::1/128'] : entries) this.#add(entry)
    this.#text = entries.length === 0 ? 'loopback only' : entries.join(', ')
  }

  /** Returns the entries as text for people. */
  toString(): string {
    return this.#text
  }

  /**
   * Returns the first address of the target that is allowed; see {@link checkAll}.
   */
  async check(target: Endpoint): Promise<Endpoint> {
    const [host] = await this.checkAll(target)
    return { host, port: target.port }
  }

  /**
   * Returns the addresses of the target that are allowed, at least one. A host name is looked up once, here.
   *
   * @throws {LabError} EACCES if no address of the target is allowed
   * @throws Error of `dns.lookup` for a host name that is not known
   */
  async checkAll(target: Endpoint): Promise<[string, ...string[]]> {
    const addresses = await this.#addresses(target.host)
    const allowed: string[] = []
    for (const host of addresses) if (await this.#isAllowed(host, target.port)) allowed.push(host)
    const [first, ...others] = allowed
    if (first !== undefined) return [first, ...others]
    const where = `${target.host}:${target.port}`
    const means = addresses[0] === target.host ? '' : ` (${addresses.join(', ')})`
    throw new NotAllowedError(`${where}${means} is not allowed here: this agent connects to ${this.#text}`)
  }

  #add(entry: string): void {
    const network = /^([\da-fA-F.:]+)\/(\d{1,3})$/.exec(entry)
    if (network !== null) {
      const [, address = '', bits = ''] = network
      const family = isIP(address)
      if (family !== 0 && Number(bits) <= (family === 4 ? 32 : 128)) {
        this.#networks.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6')
        return
      }
    }
    const endpoint = /^(?:\[([\da-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})$/.exec(entry)
    const host = endpoint?.[1] ?? endpoint?.[2] ?? ''
    const port = Number(endpoint?.[3])
    if (endpoint === null || (endpoint[1] !== undefined && isIP(host) !== 6) || !(port >= 1 && port <= 65_535)) {
      throw invalidArgument(
        'an allowed server is HOST:PORT, [IPv6]:PORT or a network such as 10.0.0.0/8 ' +
          `(10.0.0.5/32 is one address with every port), not ${JSON.stringify(entry)}`
      )
    }
    this.#endpoints.push({ host, port })
  }

  async #isAllowed(address: string, port: number): Promise<boolean> {
    if (contains(this.#networks, address)) return true
    for (const endpoint of this.#endpoints) {
      if (endpoint.port !== port) continue
      const named = new BlockList()
      // An entry whose host name is not known allows nothing.
      for (const host of await this.#addresses(endpoint.host).catch(() => [])) named.addAddress(host, familyOf(host))
      if (contains(named, address)) return true
    }
    return false
  }

  async #addresses(host: string): Promise<string[]> {
    return isIP(host) === 0 ? (await this.#lookup(host)).slice(0, MAX_ADDRESSES) : [host]
  }
}

/** Returns whether a list contains an address. `BlockList` treats `::ffff:10.0.0.1` as the IPv4 address 10.0.0.1. */
function contains(list: BlockList, address: string): boolean {
  return list.check(address, familyOf(address))
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}
