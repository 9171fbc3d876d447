/**
 * The process that takes over.
 *
 * It collects what the other process sends, and adopts all of it in the turn in which COMMIT comes, before it says
 * DONE. It reads nothing from a connection before that turn is over. If the other process ends before COMMIT, what has
 * come by then lives here. If it ends after COMMIT, all of it does.
 */
import { performance } from 'node:perf_hooks'
import { FORMAT } from '../socket/attachments.js'
import type { Channel } from '../sys/channel.js'
import { descriptorLimit, openDescriptors } from '../sys/descriptors.js'
import { EbbError, type SystemError } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { reactor } from '../sys/reactor.js'
import { closeDescriptor, cookieOf, isListening } from '../sys/socket.js'
import { Arriving } from './arriving.js'
import { sayDone } from './done.js'
import { type HandoverMessage, handoverEnded, handoverFailed, handoverStarted } from './events.js'
import { Link, type LinkHandler } from './link.js'
import { introduction, type Movable } from './movable.js'
import {
  ABORT,
  AWAY,
  COMMIT,
  decodeAbort,
  decodeListening,
  decodeNumbers,
  decodeWelcome,
  encode,
  encodeAbort,
  encodeJson,
  HELLO,
  indexOfServer,
  LISTENING,
  type Listening,
  type Message,
  READY,
  ROWS,
  refused,
  WELCOME,
  type Welcome
} from './protocol.js'
import { step } from './steps.js'
import { RowReceiver } from './wire.js'

/** What `handover()` resolves with: the process that this one has taken over from. */
export interface From {
  /** Its process id. */
  pid: number
  /** Its version of Node: `v24.1.0`. */
  node: string
  /** Connections that this process has got at once. */
  connections: number
  /** Connections that were not at rest: they follow when they are, or end in the other process. */
  awake: number
  /** Milliseconds from the call of `handover()` until this process had the connections. */
  ms: number
}

/** How long (ms) the other process may take to answer HELLO: it may be busy, and nobody is blocked. */
const ANSWER = 10_000
/** How much longer than its patience the other process may seem to take. */
const SLACK = 2
/** Ids that a process may have given to new connections between LISTENING and its death. */
const UNKNOWN_USES = 2 ** 16
/** Descriptors that this process keeps for itself. */
const RESERVE = 32

/** A listening socket that has come. */
interface Socket extends Listening {
  fd: number
}

/** Takes over from the process at the other end of a channel. */
export class Taker implements LinkHandler {
  readonly #servers: readonly Movable[]
  readonly #timeout: number
  readonly #start: number
  readonly #link: Link
  readonly #receiver: RowReceiver
  readonly #sockets: Socket[] = []
  readonly #away: number[][]
  /** Ids of {@link Taker.#away} that broadcasts go to. */
  readonly #broadcasts: Set<number>[]
  /** Servers that this process has opened itself. */
  #opened: Movable[] = []
  #welcome: Welcome | undefined
  #timer: NodeJS.Timeout | undefined
  #isOver = false
  #resolve: (taken: Taken | undefined) => void = () => {}
  #reject: (error: Error) => void = () => {}

  constructor(channel: Channel, servers: readonly Movable[], timeout: number, start: number) {
    this.#servers = servers
    this.#timeout = timeout
    this.#start = start
    this.#receiver = new RowReceiver(servers)
    this.#away = servers.map(() => [])
    this.#broadcasts = servers.map(() => new Set())
    this.#link = new Link(channel, this)
  }

  /**
   * @returns undefined if the other process has ended before it sent anything, so that nobody has the servers
   * @throws {EbbError} `ERR_EBB_HANDOVER`; {SystemError}
   */
  run(): Promise<Taken | undefined> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#link.keepRunning(true)
      this.#expect(ANSWER, 'the process that has the servers has not answered')
      const free = Math.max(0, descriptorLimit() - Math.max(0, openDescriptors()) - RESERVE)
      this.#link.send(encodeJson(HELLO, { ...introduction(this.#servers), format: FORMAT, free }))
    })
  }

  #expect(ms: number, what: string): void {
    clearTimeout(this.#timer)
    const onTimeout = (): void => this.onFailure(new EbbError('ERR_EBB_HANDOVER', `${what} within ${ms} ms`))
    this.#timer = outside(() => setTimeout(onTimeout, ms))
  }

  onMessage(message: Message, descriptors: number[]): void {
    const { kind, payload } = message
    if (kind === ABORT)
      throw new EbbError('ERR_EBB_HANDOVER', `the other process keeps its servers: ${decodeAbort(payload).reason}`)
    if (this.#welcome === undefined) {
      if (kind !== WELCOME) throw outOfTurn(kind)
      this.#welcome = decodeWelcome(payload)
      handoverStarted(this.#message())
      void this.#prepare(this.#welcome)
    } else if (this.#receiver.receive(message, descriptors)) {
      // It goes on.
      this.#timer?.refresh()
      if (kind === ROWS) step('new:rows')
    } else if (kind === LISTENING) this.#addSocket(decodeListening(payload, this.#servers.length), descriptors)
    else if (kind === AWAY) this.#addAway(decodeNumbers(payload, 2))
    else if (kind === COMMIT) this.#commit(decodeNumbers(payload, 4))
    else throw outOfTurn(kind)
  }

  #addSocket(listening: Listening, descriptors: number[]): void {
    const [fd = -1] = descriptors
    if (descriptors.length !== 1 || cookieOf(fd) === -1 || !isListening(fd)) throw refused('no socket that listens')
    if (this.#sockets.some(({ server }) => server === listening.server)) throw refused('two sockets of one server')
    descriptors.length = 0
    this.#sockets.push({ ...listening, fd })
    step('new:listening')
  }

  #addAway([server = -1, broadcasts = 0, ...ids]: number[]): void {
    const away = this.#away[server]
    if (away === undefined) throw refused('connections of no server')
    for (const id of ids) {
      away.push(id)
      if (broadcasts !== 0) this.#broadcasts[server]?.add(id)
    }
  }

  /** Opens the servers that the other process does not have, and asks it to begin. */
  async #prepare({ servers }: Welcome): Promise<void> {
    step('new:welcome')
    try {
      for (const server of this.#servers) {
        if (indexOfServer(servers, server) !== -1) continue
        this.#opened.push(server)
        await server.listen()
      }
      if (this.#isOver) return
      if (this.#opened.length === this.#servers.length) {
        throw new EbbError('ERR_EBB_HANDOVER', 'the other process has none of these servers')
      }
      this.#expect(SLACK * this.#timeout, 'the other process has not handed over')
      this.#link.send(encode(READY))
    } catch (error) {
      this.onFailure(error as Error)
    }
  }

  /** @param uses highest uses of the servers, in the order of their sockets */
  #commit([rows = -1, sockets = -1, away = -1, , ...uses]: number[]): void {
    const awake = this.#away.reduce((sum, ids) => sum + ids.length, 0)
    const expected = this.#servers.length - this.#opened.length
    const own = this.#sockets.filter(({ server }) => server !== -1)
    if (rows !== this.#receiver.count || sockets !== own.length || away !== awake || !this.#receiver.isComplete) {
      throw refused('less, or more, than COMMIT tells')
    }
    if (own.length !== expected || this.#sockets.length !== expected + 1) throw refused('a listening socket is missing')
    for (const [at, socket] of own.entries()) socket.mostUses = Math.max(socket.mostUses, uses[at] ?? 0)
    step('new:commit')
    const adopted = this.#adopt()
    step('new:adopted')
    if (!sayDone(this.#link.channel, rows)) {
      this.#undo(adopted)
      throw new EbbError('ERR_EBB_HANDOVER', 'the other process has lost patience, and keeps its servers')
    }
    step('new:done')
    this.#finish(rows, awake, adopted, false)
  }

  /** Listens, and adopts what has come. @throws after undoing all of it */
  #adopt(): number[][] {
    const adopted: number[][] = this.#servers.map(() => [])
    const moved = this.#receiver.take()
    try {
      for (const socket of this.#sockets) {
        if (socket.server === -1) continue
        const server = this.#servers[socket.server] as Movable
        const connections = moved[socket.server] ?? []
        const ids = [...connections.map(({ id }) => id), ...(this.#away[socket.server] as number[])]
        const { fd } = socket
        socket.fd = -1
        server.listenOn(fd, socket.path, socket.backlog)
        if (!server.reserve(ids, socket.mostUses)) throw refused('an id is not valid, or came twice')
        moved[socket.server] = []
        server.adopt(connections)
        adopted[socket.server] = connections.map(({ id }) => id)
      }
      return adopted
    } catch (error) {
      for (const { fd } of moved.flat()) reactor().retire(fd)
      this.#undo(adopted)
      throw error
    }
  }

  #undo(adopted: readonly number[][]): void {
    for (const [at, server] of this.#servers.entries()) {
      server.unadopt(adopted[at] as number[])
      for (const id of this.#away[at] as number[]) server.release(id)
      if (this.#sockets.some((socket) => socket.server === at && socket.fd === -1)) server.unlisten()
    }
  }

  onEnd(): void {
    if (this.#isOver) return
    // Before COMMIT. Had it changed its mind, it would have said ABORT.
    if (this.#sockets.length === 0) {
      this.#end()
      if (this.#welcome !== undefined) {
        const error = new EbbError('ERR_EBB_HANDOVER', 'the other process has ended before it handed over')
        handoverFailed({ ...this.#message(), error })
      }
      this.#unlistenOpened()
      this.#resolve(undefined)
      return
    }
    this.#receiver.dropIncomplete()
    for (const ids of this.#away) ids.length = 0
    // It has gone on with new connections after it told this.
    for (const socket of this.#sockets) socket.mostUses += UNKNOWN_USES
    const rows = this.#receiver.count
    let adopted: number[][]
    try {
      adopted = this.#adopt()
    } catch (error) {
      this.onFailure(error as Error)
      return
    }
    this.#finish(rows, 0, adopted, true)
  }

  onFailure(error: Error): void {
    if (this.#isOver) return
    this.#link.channel.trySend(encodeAbort(error.message))
    this.#end()
    this.#receiver.drop()
    for (const { fd } of this.#sockets) if (fd !== -1) closeDescriptor(fd)
    this.#unlistenOpened()
    const reason = asTooFew(error)
    handoverFailed({ ...this.#message(), error: reason })
    this.#reject(reason)
  }

  #message(): HandoverMessage {
    return { side: 'new', servers: this.#servers.map(({ name }) => name), pid: this.#welcome?.pid }
  }

  #unlistenOpened(): void {
    for (const server of this.#opened) server.end(true)
  }

  #end(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#link.close()
  }

  /**
   * @param adopted ids of connections, by server
   * @param isDead whether the other process has ended
   */
  #finish(connections: number, awake: number, adopted: readonly number[][], isDead: boolean): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    // Connections that are here by now may also be in messages that nobody has received.
    reactor().hasDuplicates = true
    const { pid, node } = this.#welcome as Welcome
    const from = { pid, node, connections, awake, ms: performance.now() - this.#start }
    handoverEnded({ ...this.#message(), connections, awake, ms: from.ms })
    const handoverSocket = this.#sockets.find(({ server }) => server === -1)?.fd ?? -1
    const missing = this.#servers.filter(
      (server, at) => !this.#opened.includes(server) && !this.#sockets.some((socket) => socket.server === at)
    )
    let arriving: Arriving | undefined
    if (isDead) this.#link.close()
    else arriving = new Arriving(this.#link, this.#servers, this.#away, this.#broadcasts)
    this.#link.keepRunning(false)
    const announce = (): void => {
      for (const [at, server] of this.#servers.entries()) server.onTaken(adopted[at] as number[])
    }
    this.#resolve({ from, handoverSocket, missing, arriving, announce })
  }
}

/** What has been taken over. */
export interface Taken {
  from: From
  /** -1 if the other process has died before it sent it. */
  handoverSocket: number
  /** Servers whose listening socket has not come, because the other process has died. */
  missing: Movable[]
  /** Connections that are still to come; undefined if the other process has died. */
  arriving: Arriving | undefined
  /** Tells the program of the connections. */
  announce(): void
}

function asTooFew(error: Error): Error {
  if ((error as SystemError).code !== 'EMFILE') return error
  return new EbbError(
    'ERR_EBB_HANDOVER',
    'this process cannot open enough descriptors: raise its limit (ulimit -n)',
    error
  )
}

function outOfTurn(kind: number): EbbError {
  return new EbbError('ERR_EBB_HANDOVER', `the other process sent message ${kind} out of turn`)
}
