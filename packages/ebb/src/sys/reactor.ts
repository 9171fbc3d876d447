/**
 * One epoll instance that holds every watched descriptor of a thread, and one libuv poll handle that watches it.
 *
 * A watched descriptor has no object. It has three numbers, in arrays indexed by the descriptor (see
 * {@link Reactor.serial}). The kernel reuses the number of a closed descriptor at once. So an event can arrive for a
 * descriptor that was closed, and opened again for something else, while an earlier event of the same batch was
 * handled. For this reason each registration has a serial number, which epoll returns with the event. The reactor drops
 * an event whose serial number is not the current one of its descriptor.
 */
import fs from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { grown, resized, shrunk } from './arrays.js'
import { type Audited, announceCreated, watchedByKernel } from './audit.js'
import { EbbError } from './errors.js'
import * as libc from './libc.js'
import { hasCallbackScopes, outside, runBatch, runEvent } from './node/callback-scope.js'
import { watchEpoll } from './node/epoll-watch.js'

/** Handles the events of the descriptors that it added to the reactor. */
export interface Watcher {
  /**
   * Called for each event of a watched descriptor. Calls the program through `CallbackScopes.run()`. If it throws
   * itself, the exception becomes an `uncaughtException`, and the event is reported again, because descriptors are
   * watched level-triggered.
   *
   * @param events what epoll reported: bits such as `EPOLLIN`
   */
  ready(fd: number, events: number): void
}

/** Maximum number of events taken from the kernel at once. */
const BATCH = 512
/** Retired descriptors that are closed in a turn of the event loop: about 2 ms. */
const RETIRED = 512
/** Owner number of descriptors that are watched on behalf of nobody. */
const NOBODY = 0

// `struct epoll_event` is packed on x86-64 (12 bytes) and not elsewhere (16 bytes): the events, then 64 bits of user
// data. The reactor keeps the descriptor and the lower half of its serial number there.
const packed = process.arch === 'x64'
const STRIDE = packed ? 3 : 4
const DATA = packed ? 1 : 2

const ACCEPT_FLAGS = libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC

/** Memory that the reactor keeps for each descriptor, bytes: serial number, state and owner. */
export const BYTES_PER_DESCRIPTOR =
  Float64Array.BYTES_PER_ELEMENT + Uint8Array.BYTES_PER_ELEMENT + Uint32Array.BYTES_PER_ELEMENT

/** The watched descriptors of one thread. Use {@link reactor} to get this thread's reactor. */
export class Reactor implements Audited {
  /** By descriptor: serial number of the registration, from 1 on and never reused; 0 for an unwatched descriptor. */
  serial = new Float64Array(shrunk(1))
  /** By descriptor: a byte for the watcher's own use; 0 when the descriptor is added. */
  state = new Uint8Array(shrunk(1))
  /**
   * Whether another process may have duplicates of watched descriptors, which {@link close} then reckons with. Set it
   * before the first descriptor is sent; it stays set, because nobody tells when the other process has closed them.
   */
  hasDuplicates = false

  /** By descriptor: owner number of the watcher, an index of `#watchers`. */
  #owner = new Uint32Array(shrunk(1))
  #watchers: (Watcher | undefined)[] = [{ ready() {} }]
  /** Descriptors that are to be closed without an effect on the connection. */
  #retired: number[] = []
  /** Watched descriptors that an object of Node owns, and closes when the thread ends. */
  readonly #lent = new Set<number>()
  /** In a worker thread: descriptors that Node opened, and closes when the thread ends. See {@link accept}. */
  readonly #guarded = new Set<number>()
  #lastSerial = 0
  #watched = 0
  #refs = 0

  readonly #epoll: number
  readonly #poll: libc.PollHandle
  // In fields, because the addresses below do not keep their buffers alive.
  readonly #events = new Int32Array(BATCH * STRIDE)
  readonly #event = new Int32Array(STRIDE)
  readonly #eventsAt = libc.addressOf(this.#events)
  readonly #eventAt = libc.addressOf(this.#event)

  /**
   * Creates an epoll instance and watches it.
   *
   * @throws {SystemError} EMFILE, ENFILE, ENOMEM
   * @throws {EbbError} `ERR_EBB_UNSUPPORTED` without koffi
   */
  constructor() {
    const epoll = libc.check(libc.epollCreate(libc.EPOLL_CLOEXEC), 'epoll_create1')
    try {
      const { fd, handle } = watchEpoll(epoll, this.#onEvents)
      this.#epoll = fd
      this.#poll = handle
      // Descriptors belong to the process and would outlive a thread. (`terminate()` does not emit `exit`: see
      // accept().)
      process.once('exit', () => (isMainThread ? this.#poll.close() : this.#closeAll()))
    } catch (error) {
      libc.close(epoll)
      throw error
    }
    announceCreated(this)
  }

  /** Number of watched descriptors. */
  get watched(): number {
    return this.#watched
  }

  /** Returns the owner number of a watched descriptor; -1 if it is not watched. */
  ownerOf(fd: number): number {
    return (this.serial[fd] ?? 0) === 0 ? -1 : (this.#owner[fd] as number)
  }

  audit(): string[] {
    const wrong: string[] = []
    const kernel = watchedByKernel(this.#epoll)
    let watched = 0
    for (const [fd, serial] of this.serial.entries()) {
      if (serial === 0) continue
      watched++
      if (this.#watchers[this.#owner[fd] as number] === undefined) wrong.push(`descriptor ${fd} has no watcher`)
      if (!kernel.delete(fd)) wrong.push(`descriptor ${fd} is in the reactor, but not in epoll`)
    }
    for (const fd of kernel) wrong.push(`descriptor ${fd} is in epoll, but not in the reactor`)
    if (watched !== this.#watched) wrong.push(`watched descriptors: ${this.#watched}, expected ${watched}`)
    return wrong
  }

  /** The last serial number that was given. */
  get lastSerial(): number {
    return this.#lastSerial
  }

  /** Gives no serial number up to this one any more: descriptors that have one come from another process. */
  skip(serial: number): void {
    this.#lastSerial = Math.max(this.#lastSerial, serial)
  }

  /** Registers a watcher. @returns its owner number, for {@link add} */
  register(watcher: Watcher): number {
    const free = this.#watchers.indexOf(undefined)
    if (free !== -1) {
      this.#watchers[free] = watcher
      return free
    }
    return this.#watchers.push(watcher) - 1
  }

  /** Forgets a watcher. It must have removed all its descriptors. */
  unregister(owner: number): void {
    this.#watchers[owner] = undefined
  }

  /**
   * Watches `fd`, level-triggered unless `events` has `EPOLLET`. Its serial number is then in {@link serial}.
   *
   * @param owner number of the watcher, from {@link register}
   * @param serial serial number that another process has given to it, at most that of {@link skip}. Default: a new one
   * @returns 0, or an errno (ENOMEM; ENOSPC at the limit `fs.epoll.max_user_watches`)
   */
  add(fd: number, events: number, owner: number, serial = this.#lastSerial + 1): number {
    if (fd >= this.serial.length) this.#resize(grown(this.serial.length, fd + 1))
    this.#event[0] = events
    this.#event[DATA] = fd
    this.#event[DATA + 1] = serial | 0
    if (libc.epollControl(this.#epoll, libc.EPOLL_ADD, fd, this.#eventAt) === -1) return libc.errno()
    if (serial > this.#lastSerial) this.#lastSerial = serial
    this.serial[fd] = serial
    this.state[fd] = 0
    this.#owner[fd] = owner
    this.#watched++
    return 0
  }

  /** Changes the events that `fd` is watched for. With 0, epoll still reports errors and hang-ups. */
  modify(fd: number, events: number): void {
    this.#event[0] = events
    this.#event[DATA] = fd
    this.#event[DATA + 1] = (this.serial[fd] as number) | 0
    libc.check(libc.epollControl(this.#epoll, libc.EPOLL_MOD, fd, this.#eventAt), 'epoll_ctl')
  }

  /** Stops watching `fd` and leaves it open. The caller owns it from now on. */
  remove(fd: number): void {
    libc.check(libc.epollControl(this.#epoll, libc.EPOLL_DEL, fd, this.#eventAt), 'epoll_ctl')
    this.#forget(fd)
  }

  /** Watches `fd` on behalf of nobody: its events are dropped until {@link assign}. @returns as {@link add} */
  addUnowned(fd: number, events: number): number {
    return this.add(fd, events, NOBODY)
  }

  /** Whether `fd` is watched on behalf of nobody. */
  isUnowned(fd: number): boolean {
    return this.ownerOf(fd) === NOBODY
  }

  /** Gives the watched `fd` to another watcher. */
  assign(fd: number, owner: number): void {
    this.#owner[fd] = owner
  }

  /**
   * Closes a descriptor whose connection another process has: nothing is sent to the peer. The reactor may watch it.
   * Many of them take time, so this is done in later turns. Until then, their events are dropped.
   */
  retire(fd: number): void {
    if (this.ownerOf(fd) > NOBODY) this.assign(fd, NOBODY)
    if (this.#retired.push(fd) === 1) outside(() => setImmediate(this.#closeRetired))
  }

  readonly #closeRetired = (): void => {
    for (const fd of this.#retired.splice(-RETIRED)) {
      if (this.ownerOf(fd) !== -1) this.remove(fd)
      this.discard(fd)
    }
    if (this.#retired.length > 0) outside(() => setImmediate(this.#closeRetired))
  }

  /** Declares that an object of Node owns the watched `fd`. The reactor then leaves it open when this thread ends. */
  lend(fd: number): void {
    this.#lent.add(fd)
  }

  // In a worker thread, `terminate()` stops the code at any point and runs no cleanup, but Node closes the descriptors
  // that it opened itself. So each connection of a worker lives in a descriptor that Node opened: `dup3` makes that
  // descriptor refer to the connection, then the original is closed. No JavaScript function is called between the two,
  // because V8 terminates a thread only at the start of a function.

  /** Accepts a connection. @returns its descriptor, or a negative errno (`-EAGAIN`: none waits) */
  accept(listening: number): number {
    if (isMainThread) {
      const fd = libc.accept4(listening, 0, 0, ACCEPT_FLAGS)
      return fd === -1 ? -libc.errno() : fd
    }
    const guarded = openGuarded()
    if (guarded < 0) return guarded
    const fd = libc.accept4(listening, 0, 0, ACCEPT_FLAGS)
    if (fd === -1) {
      const errno = libc.errno()
      fs.closeSync(guarded)
      return -errno
    }
    const duplicated = libc.dup3(fd, guarded, libc.O_CLOEXEC)
    libc.close(fd)
    this.#guarded.add(libc.check(duplicated, 'dup3'))
    return guarded
  }

  /** Makes a second descriptor for the same connection as `fd`. @returns the descriptor, or a negative errno */
  duplicate(fd: number): number {
    if (isMainThread) {
      const copy = libc.fcntl(fd, libc.F_DUPFD_CLOEXEC, 0)
      return copy === -1 ? -libc.errno() : copy
    }
    const guarded = openGuarded()
    if (guarded < 0) return guarded
    if (libc.dup3(fd, guarded, libc.O_CLOEXEC) === -1) {
      const errno = libc.errno()
      fs.closeSync(guarded)
      return -errno
    }
    this.#guarded.add(guarded)
    return guarded
  }

  /**
   * Gives `fd`, which must not be watched, to a handle of Node.
   *
   * @returns 0, or a negative errno after closing `fd`
   */
  handOver(fd: number, handle: { open(fd: number): number }): number {
    if (!this.#guarded.has(fd)) {
      const result = handle.open(fd)
      if (result !== 0) libc.close(fd)
      return result
    }
    // The handle opens a placeholder, which `dup3` then makes refer to the connection. Any descriptor that is open for
    // reading and writing will do, because the handle checks nothing else.
    const placeholder = libc.fcntl(this.#epoll, libc.F_DUPFD_CLOEXEC, 0)
    let result = placeholder === -1 ? -libc.errno() : handle.open(placeholder)
    if (result === 0) {
      if (libc.dup3(fd, placeholder, libc.O_CLOEXEC) === -1) result = -libc.errno()
    } else if (placeholder !== -1) libc.close(placeholder)
    this.discard(fd)
    return result
  }

  /** Closes `fd`, which must not be watched. */
  discard(fd: number): void {
    // After EINTR, too, the descriptor is closed on Linux (man 2 close): never try again.
    if (this.#guarded.delete(fd)) fs.closeSync(fd)
    else libc.close(fd)
  }

  /**
   * Closes the watched `fd`, which also removes it from epoll.
   *
   * The kernel removes it, and sends the FIN of a connection, when the last duplicate is closed. With
   * {@link hasDuplicates}, this does both at once.
   */
  close(fd: number): void {
    if (this.hasDuplicates) {
      this.remove(fd)
      libc.shutdown(fd, libc.SHUT_RDWR)
    } else this.#forget(fd)
    this.discard(fd)
  }

  /**
   * Returns the lowest descriptor above `fd` that `owner` watches, or -1. Descriptors may be closed during a walk:
   * `for (let fd = next(owner, -1); fd !== -1; fd = next(owner, fd))`.
   */
  next(owner: number, fd: number): number {
    const end = this.serial.length
    for (let next = fd + 1; next < end; next++) {
      if (this.serial[next] !== 0 && this.#owner[next] === owner) return next
    }
    return -1
  }

  /** Keeps the process running until each call has been undone by a call of {@link unref}. */
  ref(): void {
    if (this.#refs++ === 0) this.#poll.ref()
  }

  /** Undoes one call of {@link ref}. */
  unref(): void {
    if (--this.#refs === 0) this.#poll.unref()
  }

  /** Shrinks the arrays to what the watched descriptors need. */
  trim(): void {
    // A loop here would run long enough for V8 to optimise it, once while it runs and once more for the next call.
    const highest = this.serial.findLastIndex(isWatched)
    const size = shrunk(Math.max(1, highest + 1))
    if (size < this.serial.length) this.#resize(size)
  }

  /** Called by Node when the epoll instance has events. */
  readonly #onEvents = (): void => runBatch(this.#dispatch)

  readonly #dispatch = (): void => {
    const count = libc.epollWait(this.#epoll, this.#eventsAt, BATCH, 0)
    const events = this.#events
    for (let at = 0; at < count * STRIDE; at += STRIDE) {
      const fd = events[at + DATA] as number
      const serial = this.serial[fd] as number
      if (serial === 0 || (serial | 0) !== events[at + DATA + 1]) continue
      const watcher = this.#watchers[this.#owner[fd] as number]
      if (watcher !== undefined) runEvent(watcher.ready, watcher, fd, events[at] as number)
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

function isWatched(serial: number): boolean {
  return serial !== 0
}

let shared: Reactor | undefined

/**
 * Returns the reactor of this thread, and makes it at the first call. It lasts as long as the thread and takes two
 * descriptors.
 *
 * @throws {EbbError} `ERR_EBB_UNSUPPORTED`
 * @throws {SystemError} EMFILE, ENFILE, ENOMEM
 */
export function reactor(): Reactor {
  const lack = lackOfReactor()
  if (lack !== undefined) {
    throw new EbbError('ERR_EBB_UNSUPPORTED', `ebb/sys cannot watch descriptors here: ${lack}`)
  }
  shared ??= new Reactor()
  return shared
}

/**
 * Whether another process may have duplicates of this thread's descriptors, so that closing one neither sends a FIN or
 * RST nor removes it from epoll.
 */
export function hasDuplicates(): boolean {
  return shared?.hasDuplicates === true
}

/** Returns why this process can have no reactor, such as `koffi cannot be loaded: ...`; undefined if it can. */
export function lackOfReactor(): string | undefined {
  // Bun exports libuv's functions, but calling them ends the process.
  if ('Bun' in globalThis) return 'Bun has no libuv to watch the epoll descriptor'
  return hasCallbackScopes ? libc.unsupported : 'this Node does not let ebb set the async context of a callback'
}

/**
 * Makes the reactor of this thread, unless it exists.
 *
 * @returns undefined, or why there can be none, for the end of a sentence that says what is lost
 */
export function reactorFault(): string | undefined {
  const lack = lackOfReactor()
  if (lack !== undefined) return lack
  try {
    reactor()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Opens a descriptor that Node closes when this thread ends. @returns the descriptor, or a negative errno */
function openGuarded(): number {
  try {
    return fs.openSync('/dev/null', 'r')
  } catch (error) {
    return (error as { errno: number }).errno
  }
}

/** Calls {@link Reactor.trim} of this thread's reactor, if there is one. */
export function trimReactor(): void {
  shared?.trim()
}
