/** The addresses of clients behind a balancer, by an index such as a row or a descriptor: 37 bytes each, no object. */
import { lengthened, shortened } from '../sys/arrays.js'
import { type AddressInfo, formatIPv6 } from '../sys/sockaddr.js'
import { CLIENT_AT, CLIENT_PORT_AT, type ProxyRecord, RECORD, SERVER_AT, SERVER_PORT_AT } from './proxy-header.js'

/** Address, family and port. */
export type IpAddress = Extract<AddressInfo, { port: number }>

/** The addresses that headers of the PROXY protocol have told. */
export class ProxiedAddresses {
  #records = new Uint8Array(0)

  /** Memory of the addresses, in bytes. */
  get bytes(): number {
    return this.#records.byteLength
  }

  /** Keeps the addresses of a connection. */
  set(index: number, record: ProxyRecord): void {
    const at = index * RECORD
    if (at >= this.#records.length) this.#records = lengthened(this.#records, index, RECORD)
    this.#records.set(record, at)
  }

  /** Returns what {@link set} was given; undefined if no header has told it. */
  record(index: number): ProxyRecord | undefined {
    return this.#family(index) === 0 ? undefined : this.#records.slice(index * RECORD, (index + 1) * RECORD)
  }

  /** Forgets the addresses of a connection. */
  delete(index: number): void {
    if (this.#family(index) !== 0) this.#records[index * RECORD] = 0
  }

  /** Whether the addresses of a connection are known. */
  has(index: number): boolean {
    return this.#family(index) !== 0
  }

  /** Returns the address of the client; undefined if no header has told it. */
  client(index: number): IpAddress | undefined {
    return this.#address(index, CLIENT_AT, CLIENT_PORT_AT)
  }

  /** Returns the address that the client has connected to; undefined if no header has told it. */
  server(index: number): IpAddress | undefined {
    return this.#address(index, SERVER_AT, SERVER_PORT_AT)
  }

  /** Frees memory. @param end no index from here on is in use */
  trim(end: number): void {
    this.#records = shortened(this.#records, end, RECORD)
  }

  #family(index: number): number {
    return this.#records[index * RECORD] ?? 0
  }

  #address(index: number, at: number, portAt: number): IpAddress | undefined {
    const family = this.#family(index)
    if (family === 0) return undefined
    const record = this.#records.subarray(index * RECORD, (index + 1) * RECORD)
    const bytes = Buffer.from(record.subarray(at, at + (family === 4 ? 4 : 16)))
    const port = ((record[portAt] as number) << 8) | (record[portAt + 1] as number)
    if (family === 4) return { address: bytes.join('.'), family: 'IPv4', port }
    return { address: formatIPv6(bytes), family: 'IPv6', port }
  }
}
