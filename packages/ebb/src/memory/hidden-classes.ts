/**
 * Retained hidden classes: what keeps a program as fast after a release as before it.
 *
 * V8 gives objects with the same properties in the same order a common hidden class, and optimises code for the hidden
 * classes that it meets. A hidden class lives as long as one object of it lives. A collection that shrinks the heap
 * drops the hidden classes without objects, and with them all code that was optimised for them (`node --trace-deopt`:
 * "weak objects"). A server whose connections are all gone at that moment compiles its socket code again at the next
 * spike.
 *
 * The cure is to retain one object of each hidden class that matters across the collection. This file has all of it:
 *
 * | what | retained by | for how long |
 * |---|---|---|
 * | sockets of a crowd, and their handles | {@link RetainedHandles}, in a process governor | until the next release |
 * | the options that Node made them with | {@link retainOptions}, at the first crowd | for good |
 * | a socket that was parked, and the like | {@link retainSocket}, in a parked server | as long as the server |
 * | a connection of `listen()` | {@link retain}, in a listener | as long as the listener |
 * | what Node makes for a round of ticks | {@link retainTick}, at the first release | for good |
 *
 * A related loss happens without a collection: the first time that a program does something rare (writes to
 * `EventEmitter.init`, detaches a buffer), V8 throws away all code that it had optimised on the assumption that this
 * never happens. {@link prepareHiddenClasses} does both before there is such code.
 */
import { executionAsyncResource } from 'node:async_hooks'
import type { Socket } from 'node:net'
import {
  type ActiveHandle,
  activeHandles,
  captureEmitterOptions,
  isBusy,
  nativeHandle,
  rejectionsIterator,
  socketOptions,
  socketParts
} from '../sys/node/handles.js'
import { detachBuffer } from './detach-buffer.js'

/** Objects that are retained for their hidden classes. Their hidden classes live as long as you keep this. */
export interface Retained {
  readonly retained: readonly unknown[]
}

/** Retains objects for their hidden classes: keep the result in a field for as long as the classes should live. */
export function retain(...objects: unknown[]): Retained {
  return { retained: objects }
}

/**
 * Retains what an open socket is made of, that is the socket, its libuv handle and its HTTP parser. Removes the
 * listeners of the socket after it has closed, so that as little as possible of the application is retained with it.
 * Listeners of {@link LATE_EVENTS} stay, because the application may still hold the socket.
 *
 * @param others objects that are retained with it
 */
export function retainSocket(socket: Socket, ...others: unknown[]): Retained {
  const retained = retain(...socketParts(socket), ...others)
  socket.once('close', () =>
    setImmediate(() => {
      for (const event of socket.eventNames()) if (!LATE_EVENTS.includes(event)) socket.removeAllListeners(event)
    })
  )
  return retained
}

/** Events that a socket may emit after its connection was parked. */
const LATE_EVENTS: (string | symbol)[] = ['timeout', 'finish', 'error']

let prepared = false

/**
 * Does once, early, what would otherwise throw away optimised code later. Call it before the application's code is
 * optimised. Calling it again does nothing.
 *
 * - Detaching the first `ArrayBuffer` of a process throws away all optimised code that reads typed arrays, which
 *   includes Node's ticks and asynchronous contexts. A collection in steps detaches an `ArrayBuffer`.
 * - Writing to a property that was never written to throws away all optimised code that took it for a constant.
 *   {@link socketOptions} writes to `EventEmitter.init`.
 */
export function prepareHiddenClasses(): void {
  if (prepared) return
  prepared = true
  detachBuffer(new ArrayBuffer(8))
  captureEmitterOptions(() => {})
}

let tick: readonly unknown[] | undefined

/**
 * Retains, for good, an object that `process.nextTick()` makes, and the iterator that Node makes after each round of
 * ticks. Otherwise each release would give these objects a new hidden class. V8 would then treat the code that makes
 * them as code for objects of many classes, and every later tick would cost several times as much.
 */
export function retainTick(): Promise<void> | undefined {
  if (tick !== undefined) return undefined
  return new Promise((resolve) => {
    process.nextTick(() => {
      tick = [executionAsyncResource(), rejectionsIterator()]
      resolve()
    })
  })
}

/** Set by {@link retainOptions}. */
const acceptOptions: { retained?: object | undefined } = {}

/**
 * Retains, for good, options like those that Node makes for each socket that a server accepts. Getting them makes a
 * socket without a handle, for which V8 may throw away the optimised code of `net.Socket`, so that is done once.
 */
function retainOptions(handle: ActiveHandle): void {
  if (handle.server) acceptOptions.retained ??= socketOptions(handle)
}

/** A crowd that has grown by this factor may be a new one, so its handles are picked again. */
const GROWTH = 1.5
/** If all picked handles are destroyed, others are picked after this many ms. */
const PICK_AGAIN = 10_000
/** After picking, this many times the duration of the pick passes before the next pick: picks use 0.1 % of the time. */
const PICK_INTERVAL = 1000
/** Milliseconds that handles stay retained after the crowd has gone if no release comes. */
const LONGEST_RETAINED = 30_000
/** Only this many of the youngest handles are examined. */
const EXAMINED = 64
/** At most this many handles are retained, each of another kind. */
const MOST_KINDS = 4

interface RetainedHandle {
  handle: ActiveHandle
  /** Its libuv handle, which a socket drops when it is destroyed. */
  native: object | null | undefined
}

/** Retains a few handles of a crowd, from the time of the crowd until the release that follows. */
export class RetainedHandles {
  #handles: RetainedHandle[] = []
  #crowd = 0
  #pickedAt = Number.NEGATIVE_INFINITY
  #pickMs = 0
  #lastCrowdAt = 0

  /** Call this about once a second while there is a crowd of `crowd` handles. Makes no object while it is steady. */
  onCrowd(crowd: number): void {
    const now = performance.now()
    this.#lastCrowdAt = now
    if (!this.#isDue(crowd, now)) return
    const handles = activeHandles()
    if (handles === undefined) return
    this.#handles = pick(handles)
    this.#crowd = crowd
    this.#pickMs = performance.now() - now
    this.#pickedAt = now
  }

  /** Call this about once a second while there is no crowd. Drops the handles 30 s after the crowd has gone. */
  onNoCrowd(): void {
    if (this.#handles.length > 0 && performance.now() - this.#lastCrowdAt >= LONGEST_RETAINED) this.drop()
  }

  /** Retains nothing any more. */
  drop(): void {
    this.#handles = []
    this.#crowd = 0
  }

  /** Whether handles are to be picked again. */
  #isDue(crowd: number, now: number): boolean {
    if (now - this.#pickedAt < PICK_INTERVAL * this.#pickMs) return false
    if (crowd >= GROWTH * this.#crowd) return true
    return now - this.#pickedAt >= PICK_AGAIN && this.#handles.every(({ handle }) => handle.destroyed)
  }
}

/** Picks the youngest handle of each kind: of each server, and of each class. Skips handles with data under way. */
function pick(handles: (ActiveHandle | null)[]): RetainedHandle[] {
  const kinds = new Map<unknown, ActiveHandle>()
  for (const handle of handles.slice(-EXAMINED).reverse()) {
    if (handle === null || isBusy(handle)) continue
    const kind = handle.server ?? handle.constructor
    if (kinds.has(kind)) continue
    kinds.set(kind, handle)
    if (kinds.size === MOST_KINDS) break
  }
  const picked = [...kinds.values()]
  picked.forEach(retainOptions)
  return picked.map((handle) => ({ handle, native: nativeHandle(handle) }))
}
