/** Where an agent may connect to. What is checked is the address, and what was checked is what is connected to. */
import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { invalidArgument } from 'ebb/sys'

interface Endpoint {
  host: string
  port: number
}

/** All addresses of a host. */
export type Lookup = (host: string) => Promise<string[]>

/** An order for a target that this agent's owner did not name. */
class NotAllowedError extends Error {
  readonly code = 'EACCES'
}

/** Addresses of one name that are looked at, at most. */
const MOST_ADDRESSES = 64

export class AllowList {
  readonly #networks = new BlockList()
  readonly #endpoints: Endpoint[] = []
  readonly #text: string
  readonly #lookup: Lookup

  /**
   * @param entries `HOST:PORT`, `[IPv6]:PORT` or CIDR (`10.0.0.0/8`, for every port); none: this machine's loopback
   * @throws TypeError for anything else
   */
  constructor(entries: readonly string[] = [], lookup: Lookup = addressesOf) {
    this.#lookup = lookup
    for (const entry of entries.length === 0 ? ['127.0.0.0/8', '::1/128'] : entries) this.#add(entry)
    this.#text = entries.length === 0 ? 'loopback alone' : entries.join(', ')
  }

  /** What is allowed, for a person. */
  toString(): string {
    return this.#text
  }

  /**
   * The address to connect to: the first of the target's that is allowed. A name is looked up here, once: what it means to others,
   * or a moment later, is of no consequence.
   *
   * @throws Error (`EACCES`) with what is allowed; the error of `dns.lookup` for a name that is not known
   */
  async check(target: Endpoint): Promise<Endpoint> {
    const addresses = await this.#addresses(target.host)
    for (const host of addresses) if (await this.#isAllowed(host, target.port)) return { host, port: target.port }
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
        `what is allowed is HOST:PORT, [IPv6]:PORT or a network such as 10.0.0.0/8 (10.0.0.5/32 is one address, every port), not ${JSON.stringify(entry)}`
      )
    }
    this.#endpoints.push({ host, port })
  }

  async #isAllowed(address: string, port: number): Promise<boolean> {
    if (contains(this.#networks, address)) return true
    for (const endpoint of this.#endpoints) {
      if (endpoint.port !== port) continue
      const named = new BlockList()
      // An entry whose name is not known allows nothing; the target's own is told where it is looked up.
      for (const host of await this.#addresses(endpoint.host).catch(() => [])) named.addAddress(host, familyOf(host))
      if (contains(named, address)) return true
    }
    return false
  }

  async #addresses(host: string): Promise<string[]> {
    return isIP(host) === 0 ? (await this.#lookup(host)).slice(0, MOST_ADDRESSES) : [host]
  }
}

/** An IPv4 address in IPv6's clothes (`::ffff:10.0.0.1`) is that IPv4 address: `BlockList` sees to it. */
function contains(list: BlockList, address: string): boolean {
  return list.check(address, familyOf(address))
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 4 ? 'ipv4' : 'ipv6'
}

async function addressesOf(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true, verbatim: false })
  return found.map(({ address }) => address)
}
