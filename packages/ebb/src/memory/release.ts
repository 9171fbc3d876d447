/**
 * One give-back: collect what the runtime holds and does not use, then have the allocator return its free pages.
 *
 * Both are needed. V8 returns its pages to the system when it collects, but leaves a spike's garbage for later while the
 * program is quiet, or while small pulses go on; glibc keeps freed chunks that lie below one that is in use until
 * `malloc_trim` is called (10,000 closed sockets on Node 20: 87.1 MB before, 16.6 after the collection, 11.0 after the trim;
 * a trim alone gives back 5 MB).
 */
import { trimReactor } from '../sys/reactor.js'
import { type AllocatorName, allocator } from './allocator.js'
import { collectAll, collectInWorkers } from './collect.js'
import { ownAnonymous } from './process.js'
import { trimAll } from './trim.js'

/** What a give-back did. Anonymous memory in bytes, times in ms. */
export interface Release {
  before: number
  afterCollect: number
  afterTrim: number
  /** From the start to the end of the act. */
  ms: number
  /** The longest time that it stopped the event loop at once. */
  pauseMs: number
  /** Whose `malloc` this process has. musl's, and one that is not known, cannot be asked for its free pages. */
  allocator: AllocatorName
  /** Worker threads that collected, too. */
  workers: number
}

/** All optional. */
export interface ReleaseOptions {
  /** Have each worker thread collect its own heap as well, before the trim. One that is busy for 2 s is left out. Default: false. */
  workers?: boolean
}

/** Between the collection and the trim (ms); the program goes on meanwhile. */
export const SETTLE = 30

interface Acts {
  listeners: Set<(done: Release) => void>
  underWay: { done: Promise<Release>; workers: boolean } | undefined
}

// Found by its symbol: a program may have two copies of this library, and each is told of the other's acts.
const KEY = Symbol.for('ebb.acts.1')
const shared = globalThis as { [KEY]?: Acts }
shared[KEY] ??= { listeners: new Set(), underWay: undefined }
const acts = shared[KEY]

/** Has `listener` told of each act of this thread, whoever asked for it. Returns how to stop that. */
export function onCollected(listener: (done: Release) => void): () => void {
  acts.listeners.add(listener)
  return () => acts.listeners.delete(listener)
}

/**
 * Gives back what this process holds and does not need. Calls during an act share it; one that asks for more than it (workers)
 * waits for it, and has its own.
 *
 * Works wherever Node does; without an allocator that can be asked (or without koffi) the trim is left out.
 */
export function release({ workers = false }: ReleaseOptions = {}): Promise<Release> {
  const { underWay } = acts
  if (underWay !== undefined && (underWay.workers || !workers)) return underWay.done
  const next = () => act(workers)
  // The one before says itself when it fails.
  const done = (underWay === undefined ? next() : underWay.done.then(next, next)).finally(() => {
    if (acts.underWay === mine) acts.underWay = undefined
  })
  const mine = { done, workers }
  acts.underWay = mine
  return done
}

async function act(withWorkers: boolean): Promise<Release> {
  // Whoever waits for it is answered, also when nothing else is left to do: what the inspector does holds no process open.
  const hold = setInterval(() => {}, 2 ** 30)
  try {
    return await collectAndTrim(withWorkers)
  } finally {
    clearInterval(hold)
  }
}

async function collectAndTrim(withWorkers: boolean): Promise<Release> {
  const start = performance.now()
  const before = ownAnonymous()
  trimReactor()
  trimAll()
  const workers = withWorkers ? await collectInWorkers() : 0
  const collectMs = await collectAll()
  const afterCollect = ownAnonymous()
  // Two pauses and not one; and V8's threads free what was found, buffers among it, for a while after the collection.
  await new Promise((resolve) => setTimeout(resolve, SETTLE))
  const { name, purge } = allocator()
  const trimStart = performance.now()
  purge?.()
  const trimMs = performance.now() - trimStart
  const done = {
    before,
    afterCollect,
    afterTrim: ownAnonymous(),
    ms: performance.now() - start,
    pauseMs: Math.max(collectMs, trimMs),
    allocator: name,
    workers
  }
  for (const listener of acts.listeners) listener(done)
  return done
}
