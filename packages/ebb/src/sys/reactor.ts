/**
 * One epoll descriptor that holds every watched descriptor of a thread, and one libuv poll handle that watches it.
 *
 * A watched descriptor has no object: three numbers in arrays indexed by it (see {@link Reactor.serial}). The kernel reuses
 * a descriptor's number at once, so an event may be about a descriptor that was closed, and its number given to another, while
 * an earlier event of the same batch was handled. Each registration therefore has a serial number, which epoll carries with the
 * event; an event whose serial is not its descriptor's is stale and dropped.
 */
import fs from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { grown, resized, shrunk } from './arrays.js'
import * as libc from './libc.js'
import { workerPoll } from './node/worker-poll.js'

/** Who is told about the events of the descriptors that it added. */
export interface Watcher {
  /** `events`: what epoll reported (`EPOLLIN`, ...). One that throws loses nothing: epoll reports again what was not handled. */
  ready(fd: number, events: number): void
}

/** Most events taken from the kernel at once. */
const BATCH = 512

// `struct epoll_event` is packed on x86-64: 12 bytes, elsewhere 16. Both are events, then 64 bits that are ours.
const packed = process.arch === 'x64'
const STRIDE = packed ? 3 : 4
const DATA = packed ? 1 : 2

const ACCEPTED = libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC

export class Reactor {
  /**
   * By descriptor: the number of its registration, 0 where there is none. Counts from 1 and is never reused
   * (2^53 at a million a second: 285 years).
   */
  serial = new Float64Array(shrunk(1))
  /** By descriptor: a byte for its watcher's use; 0 at first. */
  state = new Uint8Array(shrunk(1))

  #owner = new Uint32Array(shrunk(1))
  #watchers: (Watcher | undefined)[] = []
  /** Watched, and closed by others. */
  readonly #lent = new Set<number>()
  /** In a worker thread: closed by Node when it ends. */
  readonly #guarded = new Set<number>()
  #lastSerial = 0
  #watched = 0
  #refs = 0

  readonly #epoll: number
  readonly #poll: libc.PollHandle
  // Kept in fields for as long as the addresses below are used.
  readonly #events = new Int32Array(BATCH * STRIDE)
  readonly #event = new Int32Array(STRIDE)
  readonly #eventsAt = libc.addressOf(this.#events)
  readonly #eventAt = libc.addressOf(this.#event)

  /** @throws {SystemError} EMFILE, ENFILE, ENOMEM */
  constructor() {
    const epoll = libc.check(libc.epollCreate(libc.EPOLL_CLOEXEC), 'epoll_create1')
    try {
      if (isMainThread) {
        this.#epoll = epoll
        this.#poll = libc.poll(epoll, this.#ready)
        // What is reported while Node takes itself apart has nobody to call: koffi would abort the process.
        process.once('exit', () => this.#poll.close())
      } else {
        const { fd, handle } = workerPoll(epoll, this.#ready)
        this.#epoll = fd
        this.#poll = handle
        // Descriptors are the process's: they would stay open after their thread. `terminate()` runs no code at all.
        process.once('exit', () => this.#closeAll())
      }
    } catch (error) {
      libc.close(epoll)
      throw error
    }
  }

  /** How many descriptors are watched. */
  get watched(): number {
    return this.#watched
  }

  /** Makes `watcher` known; what is returned goes to {@link add}. */
  register(watcher: Watcher): number {
    const free = this.#watchers.indexOf(undefined)
    if (free !== -1) {
      this.#watchers[free] = watcher
      return free
    }
    return this.#watchers.push(watcher) - 1
  }

  /** Forgets a watcher, which has removed all its descriptors. */
  unregister(owner: number): void {
    this.#watchers[owner] = undefined
  }

  /**
   * Watches `fd`; its serial number is then in {@link serial}. Level-triggered.
   *
   * @returns 0, or the errno (ENOMEM, ENOSPC: `fs.epoll.max_user_watches`)
   */
  add(fd: number, events: number, owner: number): number {
    if (fd >= this.serial.length) this.#resize(grown(this.serial.length, fd + 1))
    const serial = this.#lastSerial + 1
    this.#event[0] = events
    this.#event[DATA] = fd
    this.#event[DATA + 1] = serial | 0
    if (libc.epollControl(this.#epoll, libc.EPOLL_ADD, fd, this.#eventAt) === -1) return libc.errno()
    this.#lastSerial = serial
    this.serial[fd] = serial
    this.state[fd] = 0
    this.#owner[fd] = owner
    this.#watched++
    return 0
  }

  /** Changes what `fd` is watched for; 0: errors and hang-ups alone. */
  modify(fd: number, events: number): void {
    this.#event[0] = events
    this.#event[DATA] = fd
    this.#event[DATA + 1] = (this.serial[fd] as number) | 0
    libc.check(libc.epollControl(this.#epoll, libc.EPOLL_MOD, fd, this.#eventAt), 'epoll_ctl')
  }

  /** Stops watching `fd` and leaves it open: the caller owns it again. */
  remove(fd: number): void {
    libc.check(libc.epollControl(this.#epoll, libc.EPOLL_DEL, fd, this.#eventAt), 'epoll_ctl')
    this.#forget(fd)
  }

  /** Somebody else owns `fd`, and closes it when this thread ends. */
  lend(fd: number): void {
    this.#lent.add(fd)
  }

  // In a worker thread, descriptors are the process's, and `terminate()` stops our code anywhere and runs none of it. So a connection
  // is never in a descriptor that is nobody's: Node closes those that it has opened itself, and one of these is made to mean the
  // connection (`dup3`) before the one that it came in is closed. Nothing is called in between: V8 ends a thread where a function begins.

  /** Accepts a connection. @returns its descriptor; or a negative errno (`EAGAIN`: none waits) */
  accept(listening: number): number {
    if (isMainThread) {
      const fd = libc.accept4(listening, 0, 0, ACCEPTED)
      return fd === -1 ? -libc.errno() : fd
    }
    const own = openOwn()
    if (own < 0) return own
    const fd = libc.accept4(listening, 0, 0, ACCEPTED)
    if (fd === -1) {
      const errno = libc.errno()
      fs.closeSync(own)
      return -errno
    }
    const made = libc.dup3(fd, own, libc.O_CLOEXEC)
    libc.close(fd)
    this.#guarded.add(libc.check(made, 'dup3'))
    return own
  }

  /** A second descriptor of what `fd` is one of. @returns it; or a negative errno */
  duplicate(fd: number): number {
    if (isMainThread) {
      const copy = libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0)
      return copy === -1 ? -libc.errno() : copy
    }
    const own = openOwn()
    if (own < 0) return own
    if (libc.dup3(fd, own, libc.O_CLOEXEC) === -1) {
      const errno = libc.errno()
      fs.closeSync(own)
      return -errno
    }
    this.#guarded.add(own)
    return own
  }

  /**
   * Gives `fd`, which is not watched, to a handle of Node's.
   *
   * @returns 0; or a negative errno, and the descriptor is closed
   */
  handOver(fd: number, handle: { open(fd: number): number }): number {
    if (!this.#guarded.has(fd)) {
      const failed = handle.open(fd)
      if (failed !== 0) libc.close(fd)
      return failed
    }
    // One that means nothing yet: handles only look whether it can be read and written.
    const other = libc.fcntl(this.#epoll, libc.F_DUPFD_CLOEXEC, 0)
    let failed = other === -1 ? -libc.errno() : handle.open(other)
    if (failed === 0) {
      if (libc.dup3(fd, other, libc.O_CLOEXEC) === -1) failed = -libc.errno()
    } else if (other !== -1) libc.close(other)
    this.discard(fd)
    return failed
  }

  /** Closes `fd`, which is not watched. */
  discard(fd: number): void {
    // EINTR included, the descriptor is gone when close returns on Linux (man 2 close): never a second try.
    if (this.#guarded.delete(fd)) fs.closeSync(fd)
    else libc.close(fd)
  }

  /** Closes `fd`, which also takes it out of epoll. */
  close(fd: number): void {
    this.#forget(fd)
    this.discard(fd)
  }

  /**
   * The lowest descriptor above `fd` that `owner` watches, or -1. For a walk over all of them, during which any may be closed:
   * `for (let fd = next(owner, -1); fd !== -1; fd = next(owner, fd))`.
   */
  next(owner: number, fd: number): number {
    const end = this.serial.length
    for (let next = fd + 1; next < end; next++) {
      if (this.serial[next] !== 0 && this.#owner[next] === owner) return next
    }
    return -1
  }

  /** Holds the process open; counted. */
  ref(): void {
    if (this.#refs++ === 0) this.#poll.ref()
  }

  unref(): void {
    if (--this.#refs === 0) this.#poll.unref()
  }

  /** Gives back what the arrays grew by and no descriptor needs. */
  trim(): void {
    let highest = this.serial.length - 1
    while (highest >= 0 && this.serial[highest] === 0) highest--
    const size = shrunk(Math.max(1, highest + 1))
    if (size < this.serial.length) this.#resize(size)
  }

  /** Called by koffi, outside of what Node does around its own callbacks: ticks, promises and what is thrown are seen to here. */
  readonly #ready = (): void => {
    try {
      this.#run()
      runTicks()
    } catch (error) {
      // Thrown again where Node makes it an `uncaughtException`.
      setImmediate(() => {
        throw error
      })
    }
  }

  #run(): void {
    const count = libc.epollWait(this.#epoll, this.#eventsAt, BATCH, 0)
    const events = this.#events
    for (let at = 0; at < count * STRIDE; at += STRIDE) {
      const fd = events[at + DATA] as number
      const serial = this.serial[fd] as number
      if (serial === 0 || (serial | 0) !== events[at + DATA + 1]) continue
      this.#watchers[this.#owner[fd] as number]?.ready(fd, events[at] as number)
    }
  }

  #closeAll(): void {
    for (const [fd, serial] of this.serial.entries()) {
      if (serial !== 0 && !this.#lent.has(fd) && !this.#guarded.has(fd)) libc.close(fd)
    }
  }

  #forget(fd: number): void {
    if (this.#lent.size > 0) this.#lent.delete(fd)
    this.serial[fd] = 0
    this.#watched--
  }

  #resize(size: number): void {
    this.serial = resized(this.serial, new Float64Array(size))
    this.state = resized(this.state, new Uint8Array(size))
    this.#owner = resized(this.#owner, new Uint32Array(size))
  }
}

/**
 * Runs `process.nextTick` callbacks and promises, which Node does after each of its own callbacks, but Node 26 not after
 * koffi's (20 and 22 do). There is no public way to ask for it; this one is in every version since 0.10, and costs nothing when
 * there is nothing to do. An empty callback of Node's own does the same: where the function is missing, an immediate
 * (200 bytes of garbage each time).
 */
const runTicks: () => void =
  (process as { _tickCallback?: () => void })._tickCallback?.bind(process) ?? (() => void setImmediate(() => {}))

let shared: Reactor | undefined

/**
 * The reactor of this thread, made at the first call. Stays for the life of the thread: two descriptors.
 *
 * @throws `ERR_EBB_UNSUPPORTED`
 */
export function reactor(): Reactor {
  // It would end the process: Bun has libuv's functions by name alone.
  if ('Bun' in globalThis) throw libc.unsupportedError('Bun has no libuv to watch the epoll descriptor')
  shared ??= new Reactor()
  return shared
}

/** A descriptor that Node closes when this thread ends. @returns it; or a negative errno */
function openOwn(): number {
  try {
    return fs.openSync('/dev/null', 'r')
  } catch (error) {
    return (error as { errno: number }).errno
  }
}

/** {@link Reactor.trim} of this thread's reactor, if there is one. */
export function trimReactor(): void {
  shared?.trim()
}
