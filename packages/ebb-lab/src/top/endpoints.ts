/** The addresses of a box that are listened on, and the number of connections at each. */
import fs from 'node:fs'
import type { SocketDiag } from 'ebb/sys'
import { insidePid } from '../process/inside-socket.js'
import { readTcpTable, readUnixTable, type TableSocket, type UnixSocket } from '../process/proc-net.js'
import { hostOf, socketDiag } from '../process/sockets.js'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import type { Listen } from './sample.js'

/** An address that is listened on, in one network namespace. Several sockets may share it (`SO_REUSEPORT`). */
export interface Endpoint {
  /** The same as long as it is listened on. */
  key: string
  listen: Listen
  /** Address in network byte order; empty for a Unix socket. */
  address: Buffer
  /** Name of the network namespace; undefined for the own one. */
  namespace: string | undefined
}

/** A network namespace other than the own one, and a process in it. */
export interface OtherNamespace {
  name: string
  pid: number
}

/** Finds out what is listened on. Reads the kernel's lists; never looks into a process. */
export class Endpoints {
  /** Null if the kernel or its configuration does not allow it; then `/proc/net/tcp` is read. */
  readonly #diag = socketDiag()
  /** Endpoints by the link in `/proc/PID/fd`: `socket:[12345]`. */
  #byLink = new Map<string, Endpoint>()
  #inside = new Set<number>()

  /** Endpoints by the link that a listening process has in `/proc/PID/fd`, as of the last {@link find}. */
  get byLink(): ReadonlyMap<string, Endpoint> {
    return this.#byLink
  }

  /**
   * Processes of the own namespace that answer questions about their inside, as of the last {@link count}: the ids that
   * they have in their own PID namespace.
   */
  get inside(): ReadonlySet<number> {
    return this.#inside
  }

  /**
   * Looks up what is listened on, and how many connections each endpoint has, by its key.
   *
   * @throws RecordError with the errno if this user may not know
   */
  count(others: readonly OtherNamespace[]): Map<string, number> {
    const found = new Map<string, Endpoint>()
    const counts = new Map<string, number>()
    this.#inside = new Set()
    this.#countOwn(found, counts)
    for (const { name, pid } of others) {
      try {
        countTables(pid, name, found, counts)
        countUnix(readUnixTable(pid), name, found, counts)
      } catch {
        // The process has ended, or its tables are hidden from this user.
      }
    }
    this.#byLink = found
    return counts
  }

  #countOwn(found: Map<string, Endpoint>, counts: Map<string, number>): void {
    try {
      if (this.#diag === null) countTables('self', undefined, found, counts)
      else countByDiag(this.#diag, found, counts)
      const sockets = readUnixTable('self')
      countUnix(sockets, undefined, found, counts)
      for (const { path, listens } of sockets) {
        const pid = listens ? insidePid(path) : null
        if (pid !== null) this.#inside.add(pid)
      }
    } catch (error) {
      throw new RecordError(`cannot look up listening sockets: ${reasonOf(error)}`, codeOf(error), 'read', error)
    }
  }
}

function countByDiag(diag: SocketDiag, found: Map<string, Endpoint>, counts: Map<string, number>): void {
  const families = new Map<number, PortIndex>()
  for (const { family, port, address, inode } of diag.listening()) {
    const index = families.get(family) ?? new PortIndex()
    families.set(family, index)
    index.add(addTcp(found, counts, undefined, port, address, inode))
  }
  for (const [family, index] of families) {
    diag.connections(family, index.ports, (port, bytes, at) => {
      const endpoint = index.find(port, bytes, at)
      if (endpoint !== undefined) increment(counts, endpoint.key)
    })
  }
}

/** Does the same with `/proc/PID/net/tcp` and `tcp6`, in the namespace of a process. */
function countTables(
  pid: number | 'self',
  namespace: string | undefined,
  found: Map<string, Endpoint>,
  counts: Map<string, number>
): void {
  for (const family of [4, 6] as const) {
    // A machine without IPv6 has no such table.
    if (family === 6 && !fs.existsSync(`/proc/${pid}/net/tcp6`)) continue
    const index = new PortIndex()
    const established: [port: number, address: Buffer][] = []
    readTcpTable(pid, family, ({ listens, port, address, inode }: TableSocket) => {
      if (listens) index.add(addTcp(found, counts, namespace, port, Buffer.from(address), inode))
      // The kernel lists listening sockets first.
      else if (index.has(port)) established.push([port, Buffer.from(address)])
    })
    for (const [port, address] of established) {
      const endpoint = index.find(port, address, 0)
      if (endpoint !== undefined) increment(counts, endpoint.key)
    }
  }
}

function countUnix(
  sockets: readonly UnixSocket[],
  namespace: string | undefined,
  found: Map<string, Endpoint>,
  counts: Map<string, number>
): void {
  for (const { listens, path, inode } of sockets) {
    // An inside socket serves no clients.
    if (!listens || insidePid(path) !== null) continue
    const key = `${namespace ?? ''} unix ${path}`
    found.set(`socket:[${inode}]`, { key, listen: { type: 'unix', path }, address: Buffer.alloc(0), namespace })
    counts.set(key, 0)
  }
  for (const { connected, path } of sockets) if (connected) increment(counts, `${namespace ?? ''} unix ${path}`)
}

function addTcp(
  found: Map<string, Endpoint>,
  counts: Map<string, number>,
  namespace: string | undefined,
  port: number,
  address: Buffer,
  inode: number
): Endpoint {
  const host = hostOf(address)
  const endpoint: Endpoint = {
    key: `${namespace ?? ''} tcp ${host} ${port}`,
    listen: { type: 'tcp', host, port },
    address,
    namespace
  }
  found.set(`socket:[${inode}]`, endpoint)
  counts.set(endpoint.key, 0)
  return endpoint
}

/** Counts a connection of an endpoint that is known. */
function increment(counts: Map<string, number>, key: string): void {
  const count = counts.get(key)
  if (count !== undefined) counts.set(key, count + 1)
}

/** The endpoints of one address family by their port. */
class PortIndex {
  readonly #byPort = new Map<number, Endpoint[]>()

  add(endpoint: Endpoint): void {
    const { listen } = endpoint
    if (listen.type !== 'tcp') return
    const same = this.#byPort.get(listen.port)
    if (same === undefined) this.#byPort.set(listen.port, [endpoint])
    else same.push(endpoint)
  }

  has(port: number): boolean {
    return this.#byPort.has(port)
  }

  get ports(): number[] {
    return [...this.#byPort.keys()]
  }

  /** Returns the endpoint that accepted a connection with this local address: that of the address, or of all. */
  find(port: number, bytes: Buffer, at: number): Endpoint | undefined {
    const endpoints = this.#byPort.get(port)
    if (endpoints === undefined) return undefined
    for (const endpoint of endpoints) if (isAt(endpoint.address, bytes, at)) return endpoint
    for (const endpoint of endpoints) if (isZero(endpoint.address)) return endpoint
    return undefined
  }
}

function isAt(address: Buffer, bytes: Buffer, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false
  return true
}

function isZero(address: Buffer): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== 0) return false
  return true
}
