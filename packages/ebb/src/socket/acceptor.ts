/** Accepting connections: when, how many at once, and what to do when it fails. */
import { E, EPOLLIN } from '../sys/constants.js'
import { type SystemError, systemError } from '../sys/errors.js'
import { outside, runBatch } from '../sys/node/callback-scope.js'
import type { Reactor, Watcher } from '../sys/reactor.js'
import { formatAddress } from '../sys/sockaddr.js'
import { ignoreNewClients, sharesPort } from '../sys/socket.js'
import { closeSocket, type ListeningSocket, removeFile } from './listening-socket.js'

/** The server that an {@link Acceptor} accepts connections for. */
export interface AcceptHost {
  /** Number of open connections. */
  readonly clients: number
  /**
   * Takes ownership of an accepted connection.
   *
   * @returns 0, or an errno if the connection could not be watched and was closed
   */
  onAccept(fd: number): number
  /** Called when accepting pauses for want of descriptors or memory. It resumes by itself. */
  onPause(error: SystemError): void
  /** Called when the listening socket has failed for good. */
  onFailure(error: SystemError): void
}

/** Maximum number of connections accepted before the event loop goes on. */
const ACCEPT_BURST = 256
/** Two events of the listening socket within this time (ms) are a connect storm. */
const STORM_GAP = 0.25
/** Interval (ms) at which the listening socket is polled during a storm. */
const STORM_POLL = 1
/** A poll that accepts fewer connections than this ends the storm. */
const STORM_LEAST = 4
/** With a backlog below this, polling could overflow the backlog. */
const STORM_BACKLOG = 512
/** Retry interval (ms) while accepting is paused. */
const RETRY = 100

/**
 * Accepts connections from a listening socket. It owns the socket and is the socket's watcher at the reactor.
 *
 * It has three states:
 *
 * - watched: epoll reports new connections.
 * - polled, in a connect storm: a timer accepts once per millisecond.
 * - paused, for want of descriptors or memory: a timer, or a connection that closes, tries again.
 */
export class Acceptor implements Watcher {
  readonly #reactor: Reactor
  readonly #owner: number
  readonly #host: AcceptHost
  readonly #mayPoll: boolean
  readonly #socket: ListeningSocket
  /** Descriptor of the listening socket; -1 once it is closed. */
  #fd: number
  /** False while paused, and once closed. */
  #accepting = true
  #lastReady = 0
  #poll: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  /** Whether `accept4` has failed for good. */
  #failed = false
  /** Number of clients when a pause was last reported; undefined if the next pause is to be reported. */
  #pausedAt: number | undefined

  /**
   * Starts to accept from `socket`, which the acceptor owns if this succeeds.
   *
   * @throws {SystemError} of `epoll_ctl`; the caller still owns the socket
   */
  constructor(reactor: Reactor, socket: ListeningSocket, host: AcceptHost) {
    this.#reactor = reactor
    this.#host = host
    this.#socket = socket
    this.#fd = socket.fd
    this.#mayPoll = socket.backlog >= STORM_BACKLOG
    this.#owner = reactor.register(this)
    const errno = reactor.add(socket.fd, EPOLLIN, this.#owner)
    if (errno !== 0) {
      reactor.unregister(this.#owner)
      throw systemError('epoll_ctl', errno, formatAddress(socket.address))
    }
    if (socket.close !== undefined) reactor.lend(socket.fd)
  }

  /** Descriptor of the listening socket; -1 once it is closed. */
  get fd(): number {
    return this.#fd
  }

  /** False while accepting is paused for want of descriptors or memory, and after {@link close}. */
  get accepting(): boolean {
    return this.#accepting
  }

  /** Closes the listening socket. The kernel refuses the connections in its backlog. */
  close(): void {
    if (this.#fd === -1) return
    this.#stop()
    closeSocket(this.#socket)
    this.#fd = -1
    this.#accepting = false
  }

  /**
   * Stops accepting, and leaves the listening socket open and its file in place, because another process accepts from
   * it.
   */
  surrender(): void {
    this.#stop()
    this.#fd = -1
    this.#accepting = false
  }

  #stop(): void {
    clearTimeout(this.#retry)
    clearTimeout(this.#poll)
    this.#reactor.remove(this.#fd)
    this.#reactor.unregister(this.#owner)
  }

  /** Whether other sockets listen on the same port (`SO_REUSEPORT`). They take the clients that come after a close. */
  get sharesPort(): boolean {
    return this.#fd !== -1 && sharesPort(this.#fd)
  }

  /**
   * Accepts all connections that wait in the backlog, before a {@link close} that shall lose none. From now on, the
   * kernel lets no new client connect.
   *
   * Connections are lost if the process has no descriptor or no memory for them.
   *
   * @returns how many connections were accepted, including those that the host dropped
   */
  drain(): number {
    if (this.#fd === -1 || this.#failed) return 0
    if (this.#socket.path === undefined) ignoreNewClients(this.#fd)
    else removeFile(this.#socket)
    let total = 0
    for (;;) {
      try {
        const accepted = this.#acceptBurst()
        total += accepted
        if (accepted < ACCEPT_BURST) return total
      } catch (error) {
        // Of the block list, for one connection. The others are taken all the same.
        total++
        setImmediate(() => {
          throw error
        })
      }
    }
  }

  /** Called by the reactor: connections wait to be accepted. */
  ready(): void {
    const now = performance.now()
    const storm = this.#mayPoll && now - this.#lastReady < STORM_GAP
    this.#lastReady = now
    const accepted = this.#acceptBurst()
    // After a full burst more connections wait: the socket stays watched, and epoll reports them in the next turn.
    if (storm && accepted < ACCEPT_BURST && this.#accepting) this.#startPolling()
  }

  /** Tries again after a pause. Called when a descriptor, or memory, may be free. */
  resume(): void {
    if (this.#accepting || this.#fd === -1) return
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#accepting = true
    this.#reactor.modify(this.#fd, EPOLLIN)
  }

  /**
   * Polls the socket once per millisecond in place of watching it, as network drivers do with interrupts. In a storm
   * the kernel would otherwise wake this thread for each connection. Polling adds at most 1 ms of latency.
   */
  #startPolling(): void {
    this.#reactor.modify(this.#fd, 0)
    if (this.#poll === undefined) this.#poll = outside(() => setTimeout(this.#onPoll, STORM_POLL))
    else this.#poll.refresh()
  }

  readonly #onPoll = (): void => {
    if (!this.#accepting) return
    let storm = false
    try {
      const accepted = runBatch(this.#acceptBurst)
      // After a full burst, another millisecond could overflow the backlog, so the socket is watched again.
      storm = accepted >= STORM_LEAST && accepted < ACCEPT_BURST
    } finally {
      // Also if a handler threw: otherwise the socket would never be looked at again.
      if (this.#accepting) {
        if (storm) this.#poll?.refresh()
        else this.#reactor.modify(this.#fd, EPOLLIN)
      }
    }
  }

  /** @returns how many connections were accepted, including those that the host dropped or could not watch */
  readonly #acceptBurst = (): number => {
    let accepted = 0
    for (let i = 0; i < ACCEPT_BURST && this.#fd !== -1; i++) {
      const fd = this.#reactor.accept(this.#fd)
      if (fd < 0) {
        if (this.#mayRetry(-fd)) continue
        break
      }
      accepted++
      // A listener that throws does not get here. If the block list throws, epoll reports the rest of the burst again.
      const errno = this.#host.onAccept(fd)
      if (errno !== 0) {
        this.#pause(errno, 'epoll_ctl')
        break
      }
    }
    return accepted
  }

  /** Handles an errno of `accept4`. @returns whether to try the next connection at once */
  #mayRetry(errno: number): boolean {
    switch (errno) {
      case E.EAGAIN:
        this.#onBacklogEmpty()
        return false
      // The peer gave up while it waited, or a firewall refused it. accept(2) reports pending errors of the new
      // connection, and recommends to retry after them as after EAGAIN.
      case E.ECONNABORTED:
      case E.EINTR:
      case E.EPROTO:
      case E.EPERM:
      case E.ENETDOWN:
      case E.ENOPROTOOPT:
      case E.EHOSTUNREACH:
      case E.EOPNOTSUPP:
      case E.ENETUNREACH:
      case E.ETIMEDOUT:
        return true
      case E.EMFILE:
      case E.ENFILE:
      case E.ENOBUFS:
      case E.ENOMEM:
        this.#pause(errno, 'accept4')
        return false
      default:
        this.#failed = true
        this.#host.onFailure(systemError('accept4', errno, formatAddress(this.#socket.address)))
        return false
    }
  }

  /**
   * Stops watching the listening socket: it is level-triggered, so a connection that cannot be accepted would be
   * reported in every turn. Accepting resumes when a connection of this server closes, or with the next retry, because
   * another part of the process may have freed a descriptor.
   */
  #pause(errno: number, syscall: string): void {
    this.#accepting = false
    this.#reactor.modify(this.#fd, 0)
    this.#retry = outside(() => setTimeout(() => this.resume(), RETRY))
    this.#retry.unref()
    if (this.#pausedAt !== undefined) return
    const { clients } = this.#host
    this.#pausedAt = clients
    const where = formatAddress(this.#socket.address)
    const what = `with ${clients} clients: accepting pauses at ${where} and goes on when there is room`
    this.#host.onPause(systemError(syscall, errno, what))
  }

  /**
   * Decides whether the next pause is reported. At the limit, single connections come and go, and each would cause a
   * report. So a pause is reported again only after the number of clients was 10 % away from the last reported pause.
   */
  #onBacklogEmpty(): void {
    if (this.#pausedAt === undefined) return
    if (Math.abs(this.#host.clients - this.#pausedAt) > 0.1 * this.#pausedAt) this.#pausedAt = undefined
  }
}
