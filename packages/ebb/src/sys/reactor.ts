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
import { resized } from './arrays.js'
import * as libc from './libc.js'
import { workerPoll } from './worker-poll.js'

/** Who is told about the events of the descriptors that it added. */
export interface Watcher {
  /** `events`: what epoll reported (`EPOLLIN`, ...). One that throws loses nothing: epoll reports again what was not handled. */
  ready(fd: number, events: number): void
}

/** Most events taken from the kernel at once. */
const BATCH = 512
/** Entries by which the arrays grow: 1,024 descriptors are 13 KB. */
const STEP = 1024

// `struct epoll_event` is packed on x86-64: 12 bytes, elsewhere 16. Both are events, then 64 bits that are ours.
const packed = process.arch === 'x64'
const STRIDE = packed ? 3 : 4
const DATA = packed ? 1 : 2

export class Reactor {
  /**
   * By descriptor: the number of its registration, 0 where there is none. Counts from 1 and is never reused
   * (2^53 at a million a second: 285 years).
   */
  serial = new Float64Array(STEP)
  /** By descriptor: a byte for its watcher's use; 0 at first. */
  state = new Uint8Array(STEP)

  #owner = new Uint32Array(STEP)
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
    if (fd >= this.serial.length) this.#resize(Math.ceil((fd + 1) / STEP) * STEP)
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

  /**
   * Makes `fd` one that ends with this thread, which has to be asked for in a worker thread: its descriptors are the process's, and
   * `terminate()` runs none of our code. Node closes what it has opened itself: so a descriptor of its own is made to mean what `fd`
   * does.
   *
   * @returns its number from now on; negative errno (EMFILE): `fd` is what it was
   */
  #guard(fd: number): number {
    if (isMainThread) return fd
    let own: number
    try {
      own = fs.openSync('/dev/null', 'r')
    } catch (error) {
      return (error as { errno: number }).errno
    }
    libc.check(libc.dup3(fd, own, libc.O_CLOEXEC), 'dup3')
    libc.close(fd)
    this.#guarded.add(own)
    return own
  }

  /**
   * Makes `fd` this thread's own, and watches it.
   *
   * @returns its number from now on; negative errno, and it is closed
   */
  adopt(fd: number, events: number, owner: number): number {
    const own = this.#guard(fd)
    if (own < 0) {
      libc.close(fd)
      return own
    }
    const failed = this.add(own, events, owner)
    if (failed === 0) return own
    if (this.#guarded.delete(own)) fs.closeSync(own)
    else libc.close(own)
    return -failed
  }

  /**
   * Stops watching `fd`, for a new owner.
   *
   * @returns the number that is the owner's; -1 with errno, and the descriptor closed, when a worker thread has none left
   */
  release(fd: number): number {
    this.remove(fd)
    if (!this.#guarded.delete(fd)) return fd
    const released = libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0)
    fs.closeSync(fd)
    return released
  }

  /** Closes `fd`, which also takes it out of epoll. */
  close(fd: number): void {
    this.#forget(fd)
    if (this.#guarded.delete(fd)) {
      fs.closeSync(fd)
      return
    }
    // EINTR included, the descriptor is gone when close returns on Linux (man 2 close): never a second try.
    libc.close(fd)
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
    const size = Math.max(1, Math.ceil((highest + 1) / STEP)) * STEP
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

/** The reactor of this thread, made at the first call. Stays for the life of the thread: two descriptors. */
export function reactor(): Reactor {
  shared ??= new Reactor()
  return shared
}

/** {@link Reactor.trim} of this thread's reactor, if there is one. */
export function trimReactor(): void {
  shared?.trim()
}
