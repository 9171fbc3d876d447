/**
 * The keeper of one process of `ebb run --keep`: it holds duplicates of the process's parked connections and listening
 * sockets. If the process is killed, the next one takes over from the keeper, with the messages of a handover.
 *
 * It reads nothing from a connection, and watches none.
 */
import { existsSync, rmSync } from 'node:fs'
import { Link, type LinkHandler } from '../handover/link.js'
import { ChannelListener } from '../handover/listener.js'
import {
  ACK,
  ATTACH,
  BYE,
  decodeHello,
  decodeNumbers,
  encodeAbort,
  encodeJson,
  encodeNumbers,
  HELLO,
  type Hello,
  type Message,
  OWN,
  READY,
  UNLISTEN,
  WELCOME
} from '../handover/protocol.js'
import { release } from '../memory/release.js'
import { type Channel, listenForChannels } from '../sys/channel.js'
import { closeDescriptor } from '../sys/socket.js'
import { give } from './giving.js'
import { Holding, refused } from './holding.js'

/** Connections that were kept or given since the last release of memory, and the quiet time (ms) before one. */
const WORK = 2000
const QUIET = 1000

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

  /** Returns what the last process has given, which the caller owns, unless a process still has it. */
  release(): Holding | undefined {
    this.#drain()
    if (this.#holder !== undefined || this.#holding === undefined || this.#holding.sockets === 0) return undefined
    const holding = this.#holding
    this.#holding = undefined
    return holding
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
    // Messages with connections so far.
    let messages = 0
    link.handler = {
      onMessage: (message, descriptors) => {
        if (this.#take(link, holding, message, descriptors) > 0) link.send(encodeNumbers(ACK, [++messages]))
      },
      onEnd: () => this.#onEnd(link, holding),
      onFailure: (error) => {
        this.#log(`connections of process ${hello.pid} are not kept: ${error.message}`)
        // What came after the failure is not known.
        holding.close()
        this.#onEnd(link, holding)
      }
    }
  }

  /** @returns the number of connections that the message brought */
  #take(link: Link, holding: Holding, message: Message, descriptors: number[]): number {
    const { kind, payload } = message
    if (kind === UNLISTEN) holding.unlisten(decodeNumbers(payload, 1)[0] as number)
    else if (kind === OWN) this.#own(link, holding, decodeNumbers(payload, 1)[0] === 1)
    else if (kind === BYE) holding.close()
    else {
      const count = holding.take(message, descriptors)
      if (count === -1) throw refused(`message ${kind} is out of turn`)
      this.#onWork(count)
      return count
    }
    return 0
  }

  /** The connections are those of this process from now on. */
  #own(link: Link, holding: Holding, inherits: boolean): void {
    if (this.#holding === holding) return
    // What the process before has sent last: it may have woken connections before it handed over.
    this.#drain()
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
    this.#log(`connections of process ${holding.origin.pid} are not kept: the keeper was too slow`)
    holding.close()
    this.#holding = undefined
    this.#listener.close()
    this.#listener = this.#listen()
  }

  // A process that takes over.

  /** Reads what the process that serves has sent last: it may have woken connections, or have ended. */
  #drain(): void {
    this.#holder?.drain()
  }

  #welcome(link: Link, hello: Hello): void {
    this.#drain()
    const holding = this.#holding
    if (this.#holder !== undefined) throw refused(`process ${holding?.origin.pid} still has the connections`)
    if (holding === undefined || holding.sockets === 0) {
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
    link.send(encodeJson(WELCOME, holding.origin))
  }

  /** Gives duplicates of all that is kept. Blocks this process until the other has them. */
  #give(link: Link, hello: Hello, holding: Holding): void {
    this.#links.delete(link)
    const handoverSocket = listenForChannels(this.#handoverPath)
    try {
      this.#onWork(give(link, hello, holding, handoverSocket))
    } catch (error) {
      this.#log(`a process has not taken over: ${(error as Error).message}`)
    } finally {
      closeDescriptor(handoverSocket)
    }
  }
}
