/**
 * One give-back: collect what the runtime holds and does not use, then have the allocator return its free pages.
 *
 * Both are needed. V8 returns its pages to the system when it collects, but leaves a spike's garbage for later while the
 * program is quiet, or while small pulses go on; glibc keeps freed chunks that lie below one that is in use until
 * `malloc_trim` is called (10,000 closed sockets on Node 20: 87.1 MB before, 16.6 after the collection, 11.0 after the trim;
 * a trim alone gives back 5 MB).
 */

import { ownAnonymous } from '../proc/process.js'
import { trimReactor } from '../sys/reactor.js'
import { threadTime, threadTimeSince } from '../sys/thread-time.js'
import { type AllocatorName, allocator } from './allocator.js'
import { collectAll, collectInWorkers } from './collect.js'
import { collectInSteps, type Steps } from './collect-in-steps.js'
import { keepTick } from './hidden-classes.js'
import { returnAtOnce } from './thresholds.js'
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
  /** What this thread worked for it; where the kernel does not tell, the time that it stopped the event loop. */
  cpuMs: number
  /** It was collected in steps. */
  inSteps: boolean
  /** Whose `malloc` this process has. musl's, and one that is not known, cannot be asked for its free pages. */
  allocator: AllocatorName
  /** Worker threads that collected, too. */
  workers: number
}

/** All optional. */
export interface ReleaseOptions {
  /** Have each worker thread collect its own heap as well, before the trim. One that is busy for 2 s is left out. Default: false. */
  workers?: boolean
  /**
   * Collect this thread's heap in steps, while the program goes on: it is stopped for a fraction of the time, and a MB or two more stays. Where
   * V8 cannot be brought to it, all at once. Default: false.
   */
  inSteps?: boolean
  /**
   * In steps: collect once more when more than this is left (bytes). What native objects held (sockets, parsers) is garbage only when those
   * have gone; all at once, V8 sees to that itself. Default: once is enough.
   */
  enough?: number
}

/** Between the collection and the trim (ms); the program goes on meanwhile. */
const SETTLE = 30

interface Act {
  done: Promise<Release>
  workers: boolean
  inSteps: boolean
  /** Has the process stay until it is done. */
  hold(): void
}

interface Acts {
  listeners: Set<(done: Release) => void>
  underWay: Act | undefined
}

// Found by its symbol: a program may have two copies of this library, and each is told of the other's acts.
const KEY = Symbol.for('ebb.acts.2')
const shared = globalThis as { [KEY]?: Acts }
shared[KEY] ??= { listeners: new Set(), underWay: undefined }
const acts = shared[KEY]

/** Has `listener` told of each act of this thread, whoever asked for it. Returns how to stop that. */
export function onCollected(listener: (done: Release) => void): () => void {
  acts.listeners.add(listener)
  return () => acts.listeners.delete(listener)
}

/**
 * Gives back what this process holds and does not need. Calls during an act share it; one that asks for more than it (workers, or all at
 * once) waits for it, and has its own.
 *
 * Works wherever Node does; without an allocator that can be asked (or without koffi) the trim is left out.
 */
export function release(options: ReleaseOptions = {}): Promise<Release> {
  const act = start(options)
  // Whoever waits for it is answered, also when nothing else is left to do: what collects holds no process open.
  act.hold()
  return act.done
}

/** As {@link release}, for those who give back by themselves: they do not hold the process open. */
export function releaseUnheld(options: ReleaseOptions): Promise<Release> {
  return start(options).done
}

function start({ workers = false, inSteps = false, enough = Number.POSITIVE_INFINITY }: ReleaseOptions): Act {
  const { underWay } = acts
  if (underWay !== undefined && (underWay.workers || !workers) && (!underWay.inSteps || inSteps)) return underWay
  const next = () => collectAndTrim(workers, inSteps, enough)
  let holding: NodeJS.Timeout | undefined
  // The one before says itself when it fails.
  const done = (underWay === undefined ? next() : underWay.done.then(next, next)).finally(() => {
    clearInterval(holding)
    if (acts.underWay === act) acts.underWay = undefined
  })
  const act: Act = {
    done,
    workers,
    inSteps,
    hold() {
      underWay?.hold()
      holding ??= setInterval(() => {}, 2 ** 30)
    }
  }
  acts.underWay = act
  return act
}

async function collectAndTrim(withWorkers: boolean, inSteps: boolean, enough: number): Promise<Release> {
  const start = performance.now()
  const before = ownAnonymous()
  await keepTick()
  returnAtOnce()
  trimReactor()
  trimAll()
  const workers = withWorkers ? await collectInWorkers() : 0
  const steps = inSteps ? await collectInSteps() : undefined
  let { pauseMs, workMs } = steps ?? (await collectAtOnce())
  let afterCollect = ownAnonymous()
  await trim()
  if (steps !== undefined && ownAnonymous() > enough) {
    const again = await collectInSteps()
    pauseMs = Math.max(pauseMs, again?.pauseMs ?? 0)
    workMs += again?.workMs ?? 0
    afterCollect = ownAnonymous()
    await trim()
  }
  const done = {
    before,
    afterCollect,
    afterTrim: ownAnonymous(),
    ms: performance.now() - start,
    pauseMs,
    cpuMs: workMs,
    inSteps: steps !== undefined,
    allocator: allocator().name,
    workers
  }
  for (const listener of acts.listeners) listener(done)
  return done

  /** Two pauses and not one; and V8's threads free what was found, buffers among it, for a while after the collection. */
  async function trim(): Promise<void> {
    await new Promise((resolve) => {
      setTimeout(resolve, SETTLE).unref()
    })
    const trimStart = performance.now()
    const working = threadTime()
    allocator().purge?.()
    const trimMs = performance.now() - trimStart
    pauseMs = Math.max(pauseMs, trimMs)
    workMs += threadTimeSince(working) ?? trimMs
  }
}

async function collectAtOnce(): Promise<Steps> {
  const start = threadTime()
  const pauseMs = await collectAll()
  return { pauseMs, workMs: threadTimeSince(start) ?? pauseMs }
}
