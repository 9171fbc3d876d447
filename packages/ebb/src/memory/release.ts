/**
 * One release: collects garbage, then makes the allocator return its free pages to the system.
 *
 * Both are needed. V8 returns pages when it collects, but leaves the garbage of a spike for later while the program is
 * quiet or busy with small pulses. glibc keeps freed blocks that lie below a block in use until `malloc_trim` is
 * called. Figures: docs/performance.md.
 */
import { channel } from 'node:diagnostics_channel'
import { ownAnonymous } from '../proc/process.js'
import { checkBoolean, checkFromZero, checkObject } from '../sys/arguments.js'
import { EbbError } from '../sys/errors.js'
import { warnOfAllocatorFault } from '../sys/malloc.js'
import { outside } from '../sys/node/callback-scope.js'
import { trimReactor } from '../sys/reactor.js'
import { threadTime, threadTimeSince } from '../sys/thread-time.js'
import { warnOfUnknown } from '../sys/unknown.js'
import { allocator } from './allocator.js'
import { collectInSteps } from './collect-in-steps.js'
import { collectFully } from './full-gc.js'
import { retainTick } from './hidden-classes.js'
import { keepReturned } from './huge-pages.js'
import type { Cost } from './pause.js'
import { type PendingRelease, type Release, sharedReleases } from './releases.js'
import { returnPages } from './return-pages.js'
import { returnAtOnce, returnRetained } from './thresholds.js'
import { trimAll } from './trim.js'
import { collectInWorkers } from './workers.js'

export { onReleased } from './releases.js'
export type { Release }

/**
 * Why memory was released.
 *
 * - `spike`: a spike of connections or of work is over, or a crowd of connections has come and stays.
 * - `limit`: the memory cgroup is nearly full.
 * - `pressure`: the kernel or systemd reports that memory is short.
 * - `signal`: the process got the signal of the option `signal`.
 * - `asked`: the program called `release()`, a server released the garbage of the program's start, or, where a process
 *   governor runs, another governor released memory.
 */
export type Reason = 'spike' | 'limit' | 'pressure' | 'signal' | 'asked'

/** Published on the channel `ebb:release` of `node:diagnostics_channel` after each release of this thread. */
export interface ReleaseMessage extends Release {
  /** Why the memory was released. */
  reason: Reason
}

/** Name of the channel of {@link ReleaseMessage}. */
export const RELEASE_CHANNEL = 'ebb:release'

const released = channel(RELEASE_CHANNEL)

/** Tells subscribers of a release. */
export function publishRelease(message: ReleaseMessage): void {
  if (released.hasSubscribers) released.publish(message)
}

/** Options of {@link release}, all optional. */
export interface ReleaseOptions {
  /**
   * Makes each worker thread collect its own heap, too. Skips a worker that is busy for 2 s, and under the permission
   * model a worker that has not loaded `ebb/auto`. Default: false.
   */
  workers?: boolean
  /**
   * Collects this thread's heap in steps while the program runs. Pauses are a fraction as long, and 1 or 2 MB more
   * remain. Collects at once where V8 cannot be made to work in steps. Collects in steps where V8 cannot be made to
   * collect at once: Node 20 under the permission model. Default: false.
   */
  inSteps?: boolean
  /**
   * With `inSteps`: if more anonymous memory than this remains, in bytes, a second collection follows. The first one
   * frees sockets, parsers and other native objects, and the second one frees what they referred to. A collection at
   * once does both. Default: no second collection.
   */
  enough?: number
}

/** Options of {@link releaseUnheld}. */
export interface UnheldOptions extends ReleaseOptions {
  /**
   * With `workers`: a busy worker thread does not collect if that would probably pause it for longer than this, in ms.
   * Default: no limit.
   */
  maxPause?: number
  /** Leaves the heap of this thread alone. Default: false. */
  keepHeap?: boolean
  /** Why a governor releases memory. Default: `asked`. */
  reason?: Reason
}

const NAMES = Object.keys({ workers: 0, inSteps: 0, enough: 0 } satisfies Record<keyof ReleaseOptions, 0>)

/** Milliseconds between the collection and the trim. The program runs meanwhile. */
const SETTLE = 30

const shared = sharedReleases()

/**
 * Returns memory that this process holds but does not need to the operating system.
 *
 * Calls during a release share it. A call that asks for more (workers, or a collection at once) waits for the release
 * under way and then starts its own. Works on every system that Node runs on; the trim is skipped where the allocator
 * has no call for it, and where koffi cannot be loaded (process warning `EBB_UNSUPPORTED`). Holds the process open
 * until it is done.
 *
 * @returns a promise, rejected with `ERR_EBB_UNSUPPORTED` if V8 cannot be made to collect, and with
 *   `ERR_INVALID_ARG_VALUE` for invalid options
 */
export function release(options: ReleaseOptions = {}): Promise<Release> {
  try {
    checkOptions(options)
  } catch (error) {
    return Promise.reject(error as Error)
  }
  warnOfAllocatorFault("release() returns V8's garbage, but not the memory that malloc keeps")
  const pending = start(options)
  pending.hold()
  return pending.done
}

function checkOptions(options: ReleaseOptions): void {
  checkObject(options, 'options of release()')
  warnOfUnknown(options, NAMES, 'release()')
  checkBoolean(options.workers, 'workers')
  checkBoolean(options.inSteps, 'inSteps')
  if (options.enough !== undefined) checkFromZero(options.enough, 'enough', 'bytes')
}

/** Does the same as {@link release} without holding the process open: for governors. */
export function releaseUnheld(options: UnheldOptions): Promise<Release> {
  return start(options).done
}

function start({
  workers = false,
  inSteps = false,
  enough = Number.POSITIVE_INFINITY,
  maxPause = Number.POSITIVE_INFINITY,
  keepHeap = false,
  reason = 'asked'
}: UnheldOptions): PendingRelease {
  const { underWay: previous } = shared
  if (
    previous !== undefined &&
    (previous.workers || !workers) &&
    (!previous.inSteps || inSteps) &&
    (previous.collects || keepHeap)
  ) {
    return previous
  }
  const next = () => collectAndTrim({ workers, inSteps, enough, maxPause, keepHeap, reason })
  let holdTimer: NodeJS.Timeout | undefined
  // If the previous release fails, its own caller gets the error, and the next release starts all the same.
  const done = (previous === undefined ? next() : previous.done.then(next, next)).finally(() => {
    clearInterval(holdTimer)
    if (shared.underWay === pending) shared.underWay = undefined
  })
  const pending: PendingRelease = {
    done,
    // A release that leaves out workers does not serve a call that asks for all of them.
    workers: workers && maxPause === Number.POSITIVE_INFINITY,
    inSteps,
    collects: !keepHeap,
    hold() {
      previous?.hold()
      holdTimer ??= setInterval(() => {}, 2 ** 30)
    }
  }
  shared.underWay = pending
  return pending
}

async function collectAndTrim(options: Required<UnheldOptions>): Promise<Release> {
  const start = performance.now()
  const before = ownAnonymous()
  await retainTick()
  returnAtOnce()
  trimReactor()
  trimAll()
  const workers = options.workers ? await collectInWorkers(options.maxPause) : { collected: 0, busy: 0 }
  const first = options.keepHeap ? KEPT : await collect(options.inSteps)
  const collections = [first.cost]
  let afterCollect = ownAnonymous()
  const trims = [await trim()]
  if (first.inSteps && ownAnonymous() > options.enough) {
    collections.push((await collectInSteps(threadTime)) ?? { pauseMs: 0, workMs: 0 })
    afterCollect = ownAnonymous()
    trims.push(await trim())
  }
  await returnRetained()
  keepReturned()
  const done: Release = {
    before,
    afterCollect,
    afterTrim: ownAnonymous(),
    ms: performance.now() - start,
    pauseMs: longest([...collections, ...trims]),
    trimPauseMs: longest(trims),
    cpuMs: [...collections, ...trims].reduce((sum, { workMs }) => sum + workMs, 0),
    inSteps: first.inSteps,
    collected: !options.keepHeap,
    allocator: allocator().name,
    workers: workers.collected,
    busyWorkers: workers.busy
  }
  // Not in the context of whoever asked for this release.
  let isPublished = false
  for (const listener of shared.listeners) if (outside(() => listener(done)) === true) isPublished = true
  if (!isPublished) outside(() => publishRelease({ ...done, reason: options.reason }))
  return done
}

function longest(costs: readonly Cost[]): number {
  return Math.max(...costs.map(({ pauseMs }) => pauseMs))
}

/** What a collection costs that is left out. */
const KEPT = { cost: { pauseMs: 0, workMs: 0 }, inSteps: false }

/** Collects in steps or at once: as asked, or as it can be done. */
async function collect(inSteps: boolean): Promise<{ cost: Cost; inSteps: boolean }> {
  const cost = inSteps ? await collectInSteps(threadTime) : await collectAtOnce()
  if (cost !== undefined) return { cost, inSteps }
  const other = inSteps ? await collectAtOnce() : await collectInSteps(threadTime)
  if (other !== undefined) return { cost: other, inSteps: !inSteps }
  throw new EbbError('ERR_EBB_UNSUPPORTED', 'V8 cannot be made to collect garbage: allow the inspector, or more memory')
}

async function collectAtOnce(): Promise<Cost | undefined> {
  const start = threadTime()
  const pauseMs = await collectFully()
  return pauseMs === undefined ? undefined : { pauseMs, workMs: threadTimeSince(start) ?? pauseMs }
}

/**
 * Makes the allocator return its free pages, 30 ms after the collection. The program then has two short pauses instead
 * of a long one, and V8's threads have time to free the garbage.
 */
async function trim(): Promise<Cost> {
  await new Promise((resolve) => {
    setTimeout(resolve, SETTLE).unref()
  })
  return returnPages()
}
