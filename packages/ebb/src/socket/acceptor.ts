/**
 * Accepting: when, how many at once, and what to do when it cannot be.
 */
import { type SystemError, systemError } from '../sys/errors.js'
import * as libc from '../sys/libc.js'
import type { Reactor } from '../sys/reactor.js'
import { formatAddress } from '../sys/sockaddr.js'
import { closeSocket, type ListeningSocket } from './listening-socket.js'

/** Whom connections are accepted for. */
export interface Host {
  /** Connections that are open. */
  readonly clients: number
  /** Connections that it took since the start. */
  readonly accepted: number
  /** Takes a connection, which is its own from now on: 0, or the errno when it could not be watched, and was closed. */
  welcome(fd: number): number
  /** Accepting pauses, and goes on by itself. */
  report(error: SystemError): void
  /** The listening socket is of no more use. */
  broken(error: SystemError): void
}

/** Most connections accepted before others get their turn. */
const ACCEPT_BURST = 256
/** Two reports of connections to accept within this many ms: a storm. */
const STORM_GAP = 0.25
/** In a storm, accept this often (ms); fewer than this many at once end it. */
const STORM_POLL = 1
const STORM_LEAST = 4
/** A queue for fewer connections than this would overflow meanwhile. */
const STORM_QUEUE = 512
/** While paused without a descriptor of our own to wait for: try again after this many ms. */
const RETRY = 100

/** Accepts connections from a listening socket, which it owns and which its host's watcher watches. */
export class Acceptor {
  readonly #reactor: Reactor
  readonly #host: Host
  readonly #mayPoll: boolean
  readonly #socket: ListeningSocket
  #fd: number
  #accepting = true
  #lastReady = 0
  #poll: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  /** The number of clients when a pause was reported; undefined: the next one is to be reported. */
  #pausedAt: number | undefined

  constructor(reactor: Reactor, socket: ListeningSocket, host: Host) {
    this.#reactor = reactor
    this.#host = host
    this.#socket = socket
    this.#fd = socket.fd
    this.#mayPoll = socket.queue >= STORM_QUEUE
    if (socket.close !== undefined) reactor.lend(socket.fd)
  }

  /** The listening socket; -1 once it is closed. */
  get fd(): number {
    return this.#fd
  }

  /** False while it pauses for want of descriptors or memory, and once it is closed. */
  get accepting(): boolean {
    return this.#accepting
  }

  /** Closes the listening socket; those who wait in its queue are refused. */
  close(): void {
    if (this.#fd === -1) return
    clearTimeout(this.#retry)
    clearTimeout(this.#poll)
    this.#reactor.remove(this.#fd)
    closeSocket(this.#socket)
    this.#fd = -1
    this.#accepting = false
  }

  /**
   * In a storm of connects the kernel would wake this thread for each: the listening socket is then polled once a
   * millisecond in place of being watched, as network drivers do with their interrupts, until few come. Ten thousand
   * connections cost a fifth less CPU and a fifth of the garbage that way, and wait a millisecond longer.
   */
  ready(): void {
    const now = performance.now()
    const storm = this.#mayPoll && now - this.#lastReady < STORM_GAP
    this.#lastReady = now
    const before = this.#host.accepted
    this.#accept()
    const full = this.#host.accepted - before === ACCEPT_BURST
    if (storm && !full && this.#accepting && this.#fd !== -1) {
      this.#reactor.modify(this.#fd, 0)
      if (this.#poll === undefined) this.#poll = setTimeout(this.#pollAccept, STORM_POLL)
      else this.#poll.refresh()
    }
  }

  readonly #pollAccept = (): void => {
    if (!this.#accepting || this.#fd === -1) return
    const before = this.#host.accepted
    let storm = false
    try {
      this.#accept()
      const taken = this.#host.accepted - before
      // More than a burst waits: watched again, the rest is reported in the next turn. A wait would let the queue overflow.
      storm = taken >= STORM_LEAST && taken < ACCEPT_BURST
    } finally {
      // After a handler that threw, too: or nobody would ever be accepted again.
      if (this.#accepting && this.#fd !== -1) {
        if (storm) this.#poll?.refresh()
        else this.#reactor.modify(this.#fd, libc.EPOLLIN)
      }
    }
  }

  #accept(): void {
    for (let i = 0; i < ACCEPT_BURST && this.#fd !== -1; i++) {
      const fd = this.#reactor.accept(this.#fd)
      if (fd < 0) {
        if (this.#acceptFailed(-fd)) continue
        return
      }
      // One that throws: the rest of the burst is reported again.
      const failed = this.#host.welcome(fd)
      if (failed !== 0) {
        this.#pause(failed, 'epoll_ctl')
        return
      }
    }
  }

  /** True: try the next connection. */
  #acceptFailed(errno: number): boolean {
    switch (errno) {
      case libc.E.EAGAIN:
        this.#forgetPause()
        return false
      // The peer gave up while it waited, or a firewall forbade it: accept(2) passes on errors of the new socket, and
      // asks to treat them like EAGAIN by retrying.
      case libc.E.ECONNABORTED:
      case libc.E.EINTR:
      case libc.E.EPROTO:
      case libc.E.EPERM:
      case libc.E.ENETDOWN:
      case libc.E.ENOPROTOOPT:
      case libc.E.EHOSTUNREACH:
      case libc.E.EOPNOTSUPP:
      case libc.E.ENETUNREACH:
      case libc.E.ETIMEDOUT:
        return true
      case libc.E.EMFILE:
      case libc.E.ENFILE:
      case libc.E.ENOBUFS:
      case libc.E.ENOMEM:
        this.#pause(errno, 'accept4')
        return false
      default:
        this.#host.broken(systemError('accept4', errno, formatAddress(this.#socket.address)))
        return false
    }
  }

  /**
   * Level-triggered, a connection that cannot be accepted would be reported for ever: the listening socket is not watched
   * until a descriptor may be free, here (a connection closes) or anywhere else (a retry ten times a second).
   */
  #pause(errno: number, syscall: string): void {
    this.#accepting = false
    this.#reactor.modify(this.#fd, 0)
    this.#retry = setTimeout(() => this.resume(), RETRY)
    this.#retry.unref()
    if (this.#pausedAt !== undefined) return
    this.#pausedAt = this.#host.clients
    this.#host.report(
      systemError(
        syscall,
        errno,
        `with ${this.#host.clients} clients: accepting pauses at ${formatAddress(this.#socket.address)} and goes on when there is room`
      )
    )
  }

  /**
   * All that waited are accepted. A crowd at the limit comes and goes by ones, and would be reported each time: a pause is
   * news again when the crowd was clearly below, or above, the last one.
   */
  #forgetPause(): void {
    if (this.#pausedAt === undefined) return
    if (Math.abs(this.#host.clients - this.#pausedAt) > 0.1 * this.#pausedAt) this.#pausedAt = undefined
  }

  /** A descriptor, or memory, may be free again. */
  resume(): void {
    if (this.#accepting || this.#fd === -1) return
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#accepting = true
    this.#reactor.modify(this.#fd, libc.EPOLLIN)
  }
}
