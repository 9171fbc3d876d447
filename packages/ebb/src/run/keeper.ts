/**
 * The keeper of one process of `ebb run --keep`: it holds duplicates of the process's parked connections and listening
 * sockets. If the process is killed, the next one takes over from the keeper, with the messages of a handover.
 *
 * It reads nothing from a connection, and watches none.
 */
import { existsSync, rmSync } from 'node:fs'
import { receiveDone, wasDone } from '../handover/done.js'
import { Link, type LinkHandler } from '../handover/link.js'
import { ChannelListener } from '../handover/listener.js'
import {
  ACK,
  ATTACH,
  BYE,
  CHUNK,
  COMMIT,
  DROP,
  decodeAddressed,
  decodeHello,
  decodeListening,
  decodeNumbers,
  encode,
  encodeAbort,
  encodeJson,
  encodeNumbers,
  HANDOVER_SOCKET,
  HELLO,
  type Hello,
  indexOfServer,
  LISTENING,
  type Listening,
  type Message,
  OWN,
  READY,
  ROWS,
  UNLISTEN,
  WELCOME
} from '../handover/protocol.js'
import { decodeRows, type Row } from '../handover/rows.js'
import { RowSender } from '../handover/wire.js'
import { release } from '../memory/release.js'
import { type Channel, listenForChannels } from '../sys/channel.js'
import { EPOLLIN } from '../sys/constants.js'
import { EbbError } from '../sys/errors.js'
import { closeDescriptor } from '../sys/socket.js'
import { KeptConnections } from './kept-connections.js'

/** Connections that were kept or given since the last release of memory, and the quiet time (ms) before one. */
const WORK = 2000
const QUIET = 1000
/** How long (ms) the keeper is blocked at most while a process takes over. */
const PATIENCE = 2000
/** The keeper understands no flag, so it accepts all. */
const ALL_FLAGS = 0xffff

/** What one process has given to the keeper. */
class Holding {
  readonly hello: Hello
  /** By server. */
  readonly connections: KeptConnections[]
  readonly sockets = new Map<number, { fd: number; listening: Listening }>()
  /** Messages with connections so far. */
  messages = 0

  constructor(hello: Hello) {
    this.hello = hello
    this.connections = hello.servers.map(() => new KeptConnections())
  }

  /** Number of connections. */
  get size(): number {
    return this.connections.reduce((sum, { size }) => sum + size, 0)
  }

  /** Takes the rows of a message and its descriptors. */
  keep(rows: readonly Row[], descriptors: number[]): void {
    if (rows.length !== descriptors.length) throw refused(`${rows.length} rows with ${descriptors.length} sockets`)
    for (const [at, fd] of descriptors.splice(0).entries()) {
      const row = rows[at] as Row
      ;(this.connections[row.server] as KeptConnections).set(row, fd)
    }
  }

  listen(listening: Listening, fd: number): void {
    this.unlisten(listening.server)
    this.sockets.set(listening.server, { fd, listening })
  }

  unlisten(server: number): void {
    const socket = this.sockets.get(server)
    if (socket !== undefined) closeDescriptor(socket.fd)
    this.sockets.delete(server)
  }

  /** Takes what another process has given, unless this one has given it anew. */
  inherit(other: Holding): void {
    for (const [at, server] of this.hello.servers.entries()) {
      const connections = other.connections[indexOfServer(other.hello.servers, server)]
      if (connections !== undefined) this.connections[at]?.inherit(connections)
    }
  }

  /**
   * Sends all that the process of `hello` can take, and COMMIT.
   *
   * @returns the number of connections
   * @throws {SystemError} of {@link Channel.send}
   */
  give(channel: Channel, hello: Hello, handoverSocket: number, deadline: number): number {
    channel.send(encodeJson(LISTENING, HANDOVER_SOCKET), [handoverSocket], deadline)
    const given = this.hello.servers.flatMap((name, at) => {
      const server = indexOfServer(hello.servers, name)
      const socket = this.sockets.get(at)
      return server === -1 || socket === undefined
        ? []
        : [{ server, ...socket, connections: this.connections[at] as KeptConnections }]
    })
    for (const { server, fd, listening, connections } of given) {
      const mostUses = Math.max(listening.mostUses, connections.mostUses)
      channel.send(encodeJson(LISTENING, { ...listening, server, mostUses }), [fd], deadline)
    }
    const sender = new RowSender(channel, deadline, hello.format)
    for (const { server, connections } of given) {
      for (const { fd, row } of connections.all(server)) sender.addRow(row, fd)
    }
    sender.finish()
    channel.send(encodeNumbers(COMMIT, [sender.count, given.length, 0, 0]), [], deadline)
    return sender.count
  }

  close(): void {
    for (const connections of this.connections) connections.clear()
    for (const { fd } of this.sockets.values()) closeDescriptor(fd)
    this.sockets.clear()
  }
}

/** Holds the connections of one process after the other. */
export class Keeper {
  /** Path of the socket at which processes give their connections to the keeper, and take them. */
  readonly path: string
  readonly #handoverPath: string
  readonly #log: (text: string) => void
  readonly #links = new Set<Link>()
  #listener: ChannelListener
  /** What the process that serves, or served last, has given. */
  #holding: Holding | undefined
  /** Its link; undefined when it has ended. */
  #holder: Link | undefined
  #work = 0
  #releaseTimer: NodeJS.Timeout | undefined

  /**
   * @param path of the keeper's socket
   * @param handoverPath of the handover socket, which a process that takes over gets from the keeper
   * @param log prints a line with the code `ERR_EBB_RUN_KEEPER`
   * @throws {SystemError} of the keeper's socket
   */
  constructor(path: string, handoverPath: string, log: (text: string) => void) {
    this.path = path
    this.#handoverPath = handoverPath
    this.#log = log
    this.#listener = this.#listen()
  }

  /** Number of connections that are kept. */
  get size(): number {
    return this.#holding?.size ?? 0
  }

  /** Closes all that is kept. */
  close(): void {
    clearTimeout(this.#releaseTimer)
    for (const link of this.#links) link.close()
    this.#links.clear()
    this.#holding?.close()
    this.#holding = undefined
    this.#listener.close()
    rmSync(this.path, { force: true })
  }

  #listen(): ChannelListener {
    return new ChannelListener(
      listenForChannels(this.path),
      (channel) => this.#meet(channel),
      (error) => this.#log(error.message)
    )
  }

  #meet(channel: Channel): void {
    const handler: LinkHandler = {
      onMessage: (message) => {
        if (message.kind === ATTACH) this.#attach(link, decodeHello(message.payload))
        else if (message.kind === HELLO) this.#welcome(link, decodeHello(message.payload))
        else throw refused(`message ${message.kind} is out of turn`)
      },
      onEnd: () => this.#drop(link),
      onFailure: (error) => this.#fail(link, error)
    }
    const link = new Link(channel, handler)
    this.#links.add(link)
  }

  #drop(link: Link): void {
    this.#links.delete(link)
    link.close()
  }

  #fail(link: Link, error: Error): void {
    this.#log(error.message)
    link.channel.trySend(encodeAbort(error.message))
    this.#drop(link)
  }

  /** Releases memory when much was done and nothing follows: a keeper is idle most of the time. */
  #onWork(count: number): void {
    this.#work += count
    if (this.#work < WORK) return
    this.#releaseTimer ??= setTimeout(() => {
      this.#work = 0
      this.#releaseTimer = undefined
      // Without it, the keeper only holds more memory.
      release().catch(() => {})
    }, QUIET)
    this.#releaseTimer.refresh()
  }

  // A process that gives its connections.

  #attach(link: Link, hello: Hello): void {
    const holding = new Holding(hello)
    link.handler = {
      onMessage: (message, descriptors) => this.#take(link, holding, message, descriptors),
      onEnd: () => this.#onEnd(link, holding),
      onFailure: (error) => {
        this.#log(`connections of process ${hello.pid} are not kept: ${error.message}`)
        // What came after the failure is not known.
        holding.close()
        this.#onEnd(link, holding)
      }
    }
  }

  #take(link: Link, holding: Holding, { kind, payload }: Message, descriptors: number[]): void {
    const count = holding.hello.servers.length
    if (kind === ROWS) {
      const rows = decodeRows(payload, count, ALL_FLAGS)
      holding.keep(rows, descriptors)
      this.#onWork(rows.length)
      link.send(encodeNumbers(ACK, [++holding.messages]))
    } else if (kind === DROP) {
      const [server = -1, id = -1] = decodeNumbers(payload, 2)
      holding.connections[server]?.delete(id)
    } else if (kind === CHUNK) {
      const { server, id, bytes } = decodeAddressed(payload, count)
      holding.connections[server]?.addChunk(id, bytes)
    } else if (kind === LISTENING) {
      const [fd] = descriptors.splice(0, 1)
      if (fd === undefined) throw refused('no listening socket')
      holding.listen(decodeListening(payload, count), fd)
    } else if (kind === UNLISTEN) holding.unlisten(decodeNumbers(payload, 1)[0] as number)
    else if (kind === OWN) this.#own(link, holding, decodeNumbers(payload, 1)[0] === 1)
    else if (kind === BYE) holding.close()
    else throw refused(`message ${kind} is out of turn`)
  }

  /** The connections are those of this process from now on. */
  #own(link: Link, holding: Holding, inherits: boolean): void {
    if (this.#holding === holding) return
    if (inherits && this.#holding !== undefined) holding.inherit(this.#holding)
    this.#holding?.close()
    this.#holding = holding
    this.#holder = link
  }

  #onEnd(link: Link, holding: Holding): void {
    this.#drop(link)
    if (this.#holding !== holding) {
      holding.close()
      return
    }
    this.#holder = undefined
    if (existsSync(this.path)) return
    // The process goes on without the keeper, which does not know any more what is untouched.
    this.#log(`connections of process ${holding.hello.pid} are not kept: the keeper was too slow`)
    holding.close()
    this.#holding = undefined
    this.#listener.close()
    this.#listener = this.#listen()
  }

  // A process that takes over.

  #welcome(link: Link, hello: Hello): void {
    // What the process before has sent last: it may have woken connections.
    const holder = this.#holder
    if (holder !== undefined) holder.ready(holder.channel.fd, EPOLLIN)
    const holding = this.#holding
    if (this.#holder !== undefined) throw refused(`process ${holding?.hello.pid} still has the connections`)
    if (holding === undefined || holding.sockets.size === 0) {
      this.#drop(link)
      return
    }
    link.handler = {
      ...link.handler,
      onMessage: ({ kind }) => {
        if (kind !== READY) throw refused(`message ${kind} is out of turn`)
        this.#give(link, hello, holding)
      }
    }
    const { pid, node, servers } = holding.hello
    link.send(encodeJson(WELCOME, { pid, node, servers }))
  }

  /** Gives duplicates of all that is kept. Blocks this process until the other has them. */
  #give(link: Link, hello: Hello, holding: Holding): void {
    this.#links.delete(link)
    const channel = link.detach()
    const handoverSocket = listenForChannels(this.#handoverPath)
    let count = -1
    try {
      const deadline = performance.now() + PATIENCE
      count = holding.give(channel, hello, handoverSocket, deadline)
      receiveDone(channel, count, deadline)
      this.#onWork(count)
      channel.trySend(encode(BYE))
      channel.close()
    } catch (error) {
      if (wasDone(channel, count, error as Error)) channel.close()
      else this.#log(`a process has not taken over: ${(error as Error).message}`)
    } finally {
      closeDescriptor(handoverSocket)
    }
  }
}

function refused(what: string): EbbError {
  return new EbbError('ERR_EBB_RUN_KEEPER', `the keeper refused what a process sent: ${what}`)
}
