/**
 * What keeps a program as fast after a give-back as before it.
 *
 * When no object of a hidden class is alive, a collection that is to shrink the heap forgets that class, and throws away all code that was
 * optimised for it ("weak objects" in `node --trace-deopt`): a server whose crowd has gone compiles what it knows of sockets anew with the
 * next one, on all threads. A class lives as long as one object of it. (`net` with 10,000 connections twice and 1,000 four times on Node
 * 20, all threads, by `perf`: 1,065 ms without give-backs, 1,540 with them, 1,330 with specimens; optimising takes 122, 302 and 164 ms of those.)
 */
import { executionAsyncResource } from 'node:async_hooks'
import { socketOptions } from './socket-options.js'

/** A crowd that is larger by this factor may be another one. */
const GROWN = 1.5
/** One whose specimens have all gone is looked at again after this many ms, and as many times longer than a look took. */
const AGAIN = 10_000
const SHARE = 1000
/** For so long (ms) they are held when the crowd has gone and no give-back comes. */
const LONGEST_HELD = 30_000
/** Of the handles, the youngest are looked at, for so many of different kinds. */
const LOOKED_AT = 64
const MOST = 4

/** What a program waits for, as far as it is looked at here: most are `net.Socket`s. */
interface Handle {
  destroyed?: boolean
  /** Which one accepted it. */
  server?: object | null
  writableLength?: number
  /** The answer of an HTTP server that is on its way. */
  _httpMessage?: unknown
}

interface Specimen {
  handle: Handle
  /** What it was made with, which nothing else keeps. */
  options: object | undefined
}

/** Node's own, without a document, and in all its versions; no other runtime has it. An array of all handles: 2 ms for 14,000. */
const handlesOf = (process as { _getActiveHandles?: () => (Handle | null)[] })._getActiveHandles?.bind(process)

/** A few of the handles of a crowd, held from its time until the give-back after it. */
export class Specimens {
  #held: Specimen[] = []
  #crowd = 0
  #lookedAt = Number.NEGATIVE_INFINITY
  #tookMs = 0
  #lastCrowd = 0

  /** To be called now and then while there is a crowd of that many. In a steady one it makes no object. */
  look(crowd: number): void {
    const now = performance.now()
    this.#lastCrowd = now
    if (handlesOf === undefined || !this.#isOld(crowd, now)) return
    this.#held = pick(handlesOf())
    this.#crowd = crowd
    this.#tookMs = performance.now() - now
    this.#lookedAt = now
  }

  /** To be called now and then while there is none. */
  rest(): void {
    if (this.#held.length > 0 && performance.now() - this.#lastCrowd >= LONGEST_HELD) this.drop()
  }

  /** Nothing of the program's is held any longer. */
  drop(): void {
    this.#held = []
    this.#crowd = 0
  }

  #isOld(crowd: number, now: number): boolean {
    if (now - this.#lookedAt < SHARE * this.#tookMs) return false
    if (crowd >= GROWN * this.#crowd) return true
    return now - this.#lookedAt >= AGAIN && this.#held.every(({ handle }) => handle.destroyed)
  }
}

/** One of each kind, the youngest: of each class, and of each server. Such as hold no data that is on its way. */
function pick(handles: (Handle | null)[]): Specimen[] {
  const kinds = new Map<unknown, Handle>()
  for (const handle of handles.slice(-LOOKED_AT).reverse()) {
    if (handle === null || (handle.writableLength ?? 0) > 0 || handle._httpMessage) continue
    const kind = handle.server ?? handle.constructor
    if (kinds.has(kind)) continue
    kinds.set(kind, handle)
    if (kinds.size === MOST) break
  }
  return [...kinds.values()].map((handle) => ({ handle, options: handle.server ? socketOptions(handle) : undefined }))
}

let tick: object | undefined

/**
 * Keeps one of the objects that `process.nextTick()` makes, for good. When their hidden class is forgotten, V8 takes the place that makes
 * them for one that makes many kinds, and each tick costs several times as much from then on (plain `http` on Node 20: 28,000 requests a
 * second in place of 45,000).
 */
export function keepTick(): Promise<void> | undefined {
  if (tick !== undefined) return undefined
  return new Promise((resolve) => {
    process.nextTick(() => {
      tick = executionAsyncResource()
      resolve()
    })
  })
}
