/** What one process has given: its listening sockets, and its parked connections with their rows and attachments. */
import {
  CHUNK,
  COMMIT,
  DROP,
  decodeAddressed,
  decodeListening,
  decodeNumbers,
  encodeJson,
  encodeNumbers,
  indexOfServer,
  LISTENING,
  type Listening,
  type Message,
  ROWS,
  type Welcome
} from '../handover/protocol.js'
import { decodeRows, type Row } from '../handover/rows.js'
import { RowSender, type Sink } from '../handover/wire.js'
import { EbbError } from '../sys/errors.js'
import { closeDescriptor } from '../sys/socket.js'
import { KeptConnections } from './kept-connections.js'

/** Uses of rows by connections that a process may have accepted between LISTENING and its death. */
const UNKNOWN_USES = 2 ** 16
/** `ebb run` understands no flag, so it accepts all. */
const ALL_FLAGS = 0xffff

/** Connections and listening sockets of one process, of which this process has the descriptors. */
export class Holding {
  /** The process that has given them, and its servers. */
  readonly origin: Welcome
  /** By server. */
  readonly connections: KeptConnections[]
  readonly #sockets = new Map<number, { fd: number; listening: Listening }>()

  constructor({ pid, node, servers }: Welcome) {
    this.origin = { pid, node, servers }
    this.connections = servers.map(({ kind }) => new KeptConnections(kind))
  }

  /** Number of connections. */
  get size(): number {
    return this.connections.reduce((sum, { size }) => sum + size, 0)
  }

  /** Number of listening sockets. */
  get sockets(): number {
    return this.#sockets.size
  }

  /** Whether all attachments are complete. */
  get isWhole(): boolean {
    return this.connections.every(({ isWhole }) => isWhole)
  }

  /**
   * Takes ROWS, CHUNK, DROP or LISTENING, and its descriptors out of the list.
   *
   * @returns the number of connections that it brought; -1 for any other message
   * @throws {EbbError} `ERR_EBB_HANDOVER`, `ERR_EBB_RUN_KEEPER` if it is not valid
   */
  take({ kind, payload }: Message, descriptors: number[]): number {
    const count = this.origin.servers.length
    if (kind === ROWS) return this.#keep(decodeRows(payload, count, ALL_FLAGS), descriptors)
    if (kind === CHUNK) {
      const { server, id, bytes } = decodeAddressed(payload, count)
      this.connections[server]?.addChunk(id, bytes)
    } else if (kind === DROP) {
      const [server = -1, id = -1] = decodeNumbers(payload, 2)
      this.connections[server]?.delete(id)
    } else if (kind === LISTENING) this.#listen(decodeListening(payload, count), descriptors)
    else return -1
    return 0
  }

  #keep(rows: readonly Row[], descriptors: number[]): number {
    if (rows.length !== descriptors.length) throw refused(`${rows.length} rows with ${descriptors.length} sockets`)
    for (const [at, fd] of descriptors.splice(0).entries()) {
      const row = rows[at] as Row
      ;(this.connections[row.server] as KeptConnections).set(row, fd)
    }
    return rows.length
  }

  #listen(listening: Listening, descriptors: number[]): void {
    if (descriptors.length !== 1) throw refused('no listening socket')
    // The handover socket itself: whoever gives the connections on makes another one.
    if (listening.server === -1) return
    this.unlisten(listening.server)
    const [fd = -1] = descriptors.splice(0)
    this.#sockets.set(listening.server, { fd, listening })
  }

  /** Closes the listening socket of a server. */
  unlisten(server: number): void {
    const socket = this.#sockets.get(server)
    if (socket !== undefined) closeDescriptor(socket.fd)
    this.#sockets.delete(server)
  }

  /**
   * Tells how often rows were used: new connections get ids that no other had.
   *
   * @param uses by listening socket, in the order in which they have come
   */
  setUses(uses: readonly number[]): void {
    for (const [at, { listening }] of [...this.#sockets.values()].entries()) {
      listening.mostUses = Math.max(listening.mostUses, uses[at] ?? 0)
    }
  }

  /** Raises how often rows were used, because the process has gone on after it told that, and has died. */
  addUnknownUses(): void {
    for (const { listening } of this.#sockets.values()) listening.mostUses += UNKNOWN_USES
  }

  /** Takes what another process has given, unless this one has given it anew. */
  inherit(other: Holding): void {
    for (const [at, server] of this.origin.servers.entries()) {
      const before = indexOfServer(other.origin.servers, server)
      const [own, connections] = [this.connections[at], other.connections[before]]
      // Those of an owner that this process does not have: nobody would serve them.
      connections?.retainUpgraded(new Set(server.upgrades))
      if (own?.isUnused && connections !== undefined) {
        // Not one by one, which would hold all of them twice for a moment.
        this.connections[at] = connections
        other.connections[before] = own
      } else if (connections !== undefined) own?.inherit(connections)
      const socket = other.#sockets.get(before)
      if (socket === undefined || this.#sockets.has(at)) continue
      this.#sockets.set(at, { fd: socket.fd, listening: { ...socket.listening, server: at } })
      other.#sockets.delete(before)
    }
  }

  /**
   * Sends what a process with these servers can take, and COMMIT.
   *
   * @param servers of that process
   * @param format of attachments that it can read
   * @param deadline of `performance.now()`
   * @returns the number of connections
   * @throws {SystemError} of the sink
   */
  give(sink: Sink, { servers, format }: { servers: Welcome['servers']; format: number }, deadline: number): number {
    const given = this.origin.servers.flatMap((name, at) => {
      const server = indexOfServer(servers, name)
      const socket = this.#sockets.get(at)
      return server === -1 || socket === undefined
        ? []
        : [{ server, ...socket, connections: this.connections[at] as KeptConnections }]
    })
    for (const { server, fd, listening, connections } of given) {
      const mostUses = Math.max(listening.mostUses, connections.mostUses)
      sink.send(encodeJson(LISTENING, { ...listening, server, mostUses }), [fd], deadline)
    }
    const sender = new RowSender(sink, format)
    sender.begin(deadline)
    for (const { server, connections } of given) {
      connections.each(server, (row, fd) => sender.addRow(row, fd))
    }
    sender.finish()
    sink.send(encodeNumbers(COMMIT, [sender.count, given.length, 0, 0]), [], deadline)
    return sender.count
  }

  /** Closes all descriptors. */
  close(): void {
    for (const connections of this.connections) connections.clear()
    for (const server of [...this.#sockets.keys()]) this.unlisten(server)
  }
}

/** Makes the error for a message that does not fit what was sent before it. */
export function refused(what: string): EbbError {
  return new EbbError('ERR_EBB_RUN_KEEPER', `the keeper refused what a process sent: ${what}`)
}
