/** Local addresses to connect from. */
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { bindSocket, closeDescriptor, invalidArgument, SocketAddress } from 'ebb/sys'
import { localPortRange } from '../process/ports.js'
import { codeOf, LabError } from '../units/errors.js'

/** Maximum number of automatic source addresses: 127.0.0.1 to 127.0.16.0, with about 28,000 ports each. */
export const MAX_SOURCES = 4095

/**
 * Share of a source's ports to use before the next source is taken, from 0 to 1.
 *
 * `connect(2)` tries every second port first, from where its last search ended (`__inet_hash_connect` in Linux's
 * `net/ipv4/inet_hashtables.c`). When few of these ports are left, each connect tries most of them in vain, and the
 * connect rate drops from 40,000 to 1,000 per second.
 */
const USABLE_SHARE = 0.25

/**
 * Checks that this machine can connect from an address.
 *
 * @throws TypeError if it is not an IP address; LabError (`EADDRNOTAVAIL`) if it is not one of this machine's
 */
export function checkOwn(host: string): void {
  if (isIP(host) === 0) throw invalidArgument(`a source must be an IPv4 or IPv6 address, not ${JSON.stringify(host)}`)
  try {
    closeDescriptor(bindSocket({ host, port: 0 }))
  } catch (error) {
    if (codeOf(error) !== 'EADDRNOTAVAIL') throw error
    const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address))
    const some = own.length === 0 ? '' : `, such as ${own.slice(0, MOST_NAMED).join(' or ')}`
    throw new LabError(
      `the source ${host} is not an address of this machine: give one of its own${some}`,
      'EADDRNOTAVAIL',
      'bind',
      error
    )
  }
}

/** Addresses of this machine that a message names. */
const MOST_NAMED = 3

/** Chooses the source address of each connect. */
export class Sources {
  readonly #given: readonly SocketAddress[]
  /** Whether sources are added as the ports of one run out. */
  readonly #automatic: boolean
  readonly #part: { index: number; of: number }
  #current: SocketAddress | undefined
  #number = 0
  /** Number of connects that may begin at the current source before the next source is taken. */
  #remaining = Number.POSITIVE_INFINITY

  /**
   * @param given addresses to use in turn; with none, the kernel chooses
   * @param automatic whether to take more addresses of 127.0.0.0/8 when the ports of one run out
   * @param part which of `of` clients this one is: clients take different automatic sources
   */
  constructor(given: readonly string[], automatic: boolean, part: { index: number; of: number }) {
    this.#given = given.map((host) => new SocketAddress({ host, port: 0 }))
    this.#automatic = automatic && given.length === 0
    this.#part = part
  }

  /** Starts again with the first automatic source. Called before each pulse. */
  reset(): void {
    if (this.#automatic) this.#use(this.#part.index)
  }

  /** Counts one more connect, and takes the next automatic source if the current one has few ports left. */
  reserve(): void {
    if (this.#remaining-- <= 0) this.next()
  }

  /** Returns the source of connect number `index`, or undefined if the kernel is to choose. */
  at(index: number): SocketAddress | undefined {
    return this.#automatic ? this.#current : this.#given[index % this.#given.length]
  }

  /**
   * Takes the next automatic source. All of 127.0.0.0/8 is loopback, and each address has its own ports to the server.
   *
   * @returns whether there was another source
   */
  next(): boolean {
    const next = this.#number + this.#part.of
    if (!this.#automatic || next > MAX_SOURCES) return false
    this.#use(next)
    return true
  }

  #use(number: number): void {
    this.#number = number
    this.#remaining = USABLE_SHARE * localPorts()
    const host = `127.0.${(number + 1) >> 8}.${(number + 1) & 255}`
    // Source 0 is 127.0.0.1, which the kernel chooses by itself: no bind is needed.
    this.#current = number === 0 ? undefined : new SocketAddress({ host, port: 0 })
  }
}

/** Returns the number of ports that the kernel chooses from for an outgoing connection. */
export function localPorts(): number {
  const { first, last } = localPortRange()
  return last - first + 1
}
