/** Opening handshakes: by `http`, or while the connection is parked. */
import { type IncomingMessage, maxHeaderSize, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { addUpgradeOwner, removeUpgradeOwner, type UpgradeOwner } from '../../park/upgrade-owners.js'
import type { Upgrades } from '../../park/upgrades.js'
import { invalidArgument } from '../../sys/errors.js'
import { outside, reportLater } from '../../sys/node/callback-scope.js'
import { peerAddress } from '../../sys/socket.js'
import { peek, peeked, receiveAndDrop, sendBytes } from '../../sys/transfer.js'
import { webSocketsOf } from '../of-server.js'
import type { WebSockets } from '../web-sockets.js'
import {
  type Acceptance,
  acceptResponse,
  answerOf,
  checkIncoming,
  checkRequest,
  isRefusal,
  type Refusal,
  Request,
  readHead,
  refuseResponse,
  type UpgradeRequest,
  type UpgradeResult
} from './handshake.js'
import type { Hub } from './hub.js'

/** The `upgrade` handler has thrown, or its answer is not valid. */
const FAILED: Refusal = Object.freeze({ status: 500 })
/** Connections are no longer taken. */
const CLOSED: Refusal = Object.freeze({ status: 503 })

/** Requests that one `hibernate()` takes. */
interface Route {
  /** Undefined: every path that no other route has. */
  readonly path: string | undefined
}

/** The routes of each server, oldest first. */
const routes = new WeakMap<Server, Route[]>()

/** What the handshakes of one `hibernate()` need. */
export interface OpeningOptions<A> extends Route {
  upgrade: ((request: UpgradeRequest) => UpgradeResult<A> | Promise<UpgradeResult<A>>) | undefined
}

/** An accepted connection, whose response and attachment are ready. */
interface Ready {
  core: WebSockets
  owner: number
  acceptance: Acceptance
  attachment: string | undefined
  response: Buffer
}

/** Does the handshakes of a server, and gives the connections to a hub. */
export class Opening<A> implements Route, UpgradeOwner {
  readonly path: string | undefined

  readonly #server: Server
  readonly #hub: Hub<A>
  readonly #options: OpeningOptions<A>
  #upgrades: Upgrades | undefined
  #closed = false

  /** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if another `hibernate()` of the server has the same path */
  constructor(server: Server, hub: Hub<A>, options: OpeningOptions<A>) {
    this.#server = server
    this.#hub = hub
    this.#options = options
    const { path } = options
    this.path = path
    const others = this.#routes()
    if (others.some((other) => other.path === path)) {
      const what = path === undefined ? 'every path' : path
      throw invalidArgument(`another hibernate() of this server takes ${what}: give each a path of its own`)
    }
    routes.set(server, [...others, this])
    server.on('upgrade', this.#onUpgrade)
    addUpgradeOwner(server, this)
  }

  get name(): string {
    return this.#hub.moving.name
  }

  /** Prepares to take connections of another process. */
  prepare(): void {
    const core = webSocketsOf(this.#server)
    if (core !== undefined) this.#hub.join(core)
  }

  #routes(): Route[] {
    return routes.get(this.#server) ?? []
  }

  /** Also does handshakes while connections are parked, as far as their requests have nothing unusual. */
  whileParked(upgrades: Upgrades): void {
    this.#upgrades = upgrades
    upgrades.handshake = this.#onBytes
  }

  /** Takes no more connections. */
  close(): void {
    this.#closed = true
    const others = this.#routes().filter((other) => other !== this)
    routes.set(this.#server, others)
    this.#server.off('upgrade', this.#onUpgrade)
    removeUpgradeOwner(this.#server, this)
    if (this.#upgrades !== undefined) this.#upgrades.handshake = undefined
  }

  /** Returns who takes a request: the route with its path, else the one without a path. */
  #takerOf(url: string): Route | undefined {
    const all = this.#routes()
    const end = url.indexOf('?')
    const path = end === -1 ? url : url.slice(0, end)
    return all.find((route) => route.path === path) ?? all.find((route) => route.path === undefined)
  }

  /** Whether this refuses the requests that nobody takes: the oldest route of a server that has nothing else. */
  #refusesUntaken(): boolean {
    const all = this.#routes()
    return this.#server.listenerCount('upgrade') === all.length && all[0] === this
  }

  /** Calls the `upgrade` handler. @param then called once with the answer, in this turn or later. It never throws */
  #decide(request: Request, then: (answer: Refusal | Acceptance) => void): void {
    let result: UpgradeResult | Promise<UpgradeResult>
    try {
      result = this.#options.upgrade?.(request)
      // Anything with a `then` becomes a promise, which settles once.
      if (isPromise(result)) result = Promise.resolve(result)
    } catch (error) {
      reportLater(error)
      then(FAILED)
      return
    }
    if (result instanceof Promise) {
      result.then(
        (later) => inTurn(() => then(this.#answerOf(later, request))),
        (error: unknown) => {
          reportLater(error)
          inTurn(() => then(FAILED))
        }
      )
    } else then(this.#answerOf(result, request))
  }

  #answerOf(result: UpgradeResult, request: Request): Refusal | Acceptance {
    try {
      return answerOf(result, request.protocols)
    } catch (error) {
      reportLater(error)
      return FAILED
    }
  }

  /** Prepares all that may fail before the connection is accepted. */
  #prepare(request: Request, answer: Refusal | Acceptance): Refusal | Ready {
    if (isRefusal(answer)) return answer
    const core = webSocketsOf(this.#server)
    const owner = core === undefined || this.#closed ? -1 : this.#hub.join(core)
    if (core === undefined || owner === -1) return CLOSED
    try {
      const attachment = core.attachments.serialized(answer.attachment)
      const response = acceptResponse(request.headers['sec-websocket-key'] as string, answer)
      return { core, owner, acceptance: answer, attachment, response }
    } catch (error) {
      reportLater(error)
      return FAILED
    }
  }

  /** Calls the `open` handler of a connection that was adopted, as a callback of this connection. */
  #open(row: number, { core, acceptance, attachment }: Ready): void {
    core.callBack(row, () => this.#hub.onOpen(row, acceptance, attachment), undefined)
  }

  // By `http`.

  readonly #onUpgrade = (incoming: IncomingMessage, socket: Socket, head: Buffer): void => {
    const { url = '' } = incoming
    const taker = this.#takerOf(url)
    const isTaken = taker === this
    if (!isTaken && (taker !== undefined || !this.#refusesUntaken())) return
    socket.on('error', () => {})
    // The keys of a TLS connection are in the process, so it cannot be parked.
    const isEncrypted = (socket as { encrypted?: boolean }).encrypted === true
    const checked = isTaken ? (isEncrypted ? { status: 501 } : checkIncoming(incoming)) : { status: 404 }
    if (isRefusal(checked)) {
      refuse(socket, checked)
      return
    }
    const request = new Request(url, incoming.headers, checked, () => socket.remoteAddress, incoming)
    // The context of `http` may have stores of the handlers of other connections.
    outside(() => this.#decide(request, (answer) => this.#answer(socket, head, this.#prepare(request, answer))))
  }

  #answer(socket: Socket, head: Buffer, answer: Refusal | Ready): void {
    if (!socket.readable || !socket.writable) socket.destroy()
    else if ('status' in answer) refuse(socket, answer)
    else {
      const { core, owner, response } = answer
      socket.setTimeout(0)
      socket.setNoDelay()
      socket.write(response)
      const row = core.adopt(socket, head, owner)
      if (row === -1) socket.destroy()
      else this.#open(row, answer)
    }
  }

  // While the connection is parked.

  /** @returns false for a request that is left to `http` */
  readonly #onBytes = (row: number, fd: number): boolean => {
    const upgrades = this.#upgrades as Upgrades
    const { table, proxied } = upgrades.connections
    const length = peek(fd, maxHeaderSize)
    const head = length > 0 ? readHead(peeked(length), maxHeaderSize) : undefined
    if (head === undefined || this.#takerOf(head.url) !== this) return false
    const checked = checkRequest('GET', head.headers)
    if (isRefusal(checked)) return false
    receiveAndDrop(fd, head.length)
    const id = table.id(row)
    const address = (): string | undefined => {
      const known = proxied.client(row) ?? (table.id(row) === id ? peerAddress(fd) : undefined)
      return known !== undefined && 'address' in known ? known.address : undefined
    }
    const request = new Request(head.url, head.headers, checked, address)
    let isLater = false
    let isAnswered = false
    this.#decide(request, (answer) => {
      isAnswered = true
      // The client may have left, or the program may have closed the connection.
      if (table.id(row) !== id) return
      if (isLater) upgrades.resume(row)
      this.#answerParked(row, fd, this.#prepare(request, answer))
    })
    isLater = true
    if (!isAnswered && table.id(row) === id) upgrades.hold(row)
    return true
  }

  #answerParked(row: number, fd: number, answer: Refusal | Ready): void {
    if ('status' in answer) {
      this.#refuseParked(row, fd, refuseResponse(answer))
      return
    }
    const { core, owner, response } = answer
    core.adoptParked(row, owner)
    core.write(row, response)
    this.#open(row, answer)
  }

  #refuseParked(row: number, fd: number, response: Buffer): void {
    const sent = sendBytes(fd, response)
    if (sent >= 0 && sent < response.length) {
      const socket = this.#upgrades?.wake(row)
      if (socket === undefined) return
      socket.on('error', () => {})
      end(socket, response.subarray(sent))
      return
    }
    // Bytes that nobody reads would make the kernel send a RST, which may overtake the response.
    receiveAndDrop(fd)
    this.#upgrades?.close(row, 'server')
  }
}

/**
 * Calls `fn` in a callback of Node of its own: within a promise, ticks of a handler would run after other promises. Not
 * in a batch, where ticks, and with them the first messages, would come before `open`.
 */
function inTurn(fn: () => void): void {
  outside(() => setImmediate(fn))
}

function isPromise(result: unknown): result is Promise<UpgradeResult> {
  return typeof (result as Promise<UpgradeResult> | undefined)?.then === 'function'
}

function refuse(socket: Socket, refusal: Refusal): void {
  end(socket, refuseResponse(refusal))
}

/** Sends the last bytes of a connection. Its socket must have a listener of `error`. */
function end(socket: Socket, bytes: Buffer): void {
  socket.once('finish', () => socket.destroy())
  socket.end(bytes)
}
