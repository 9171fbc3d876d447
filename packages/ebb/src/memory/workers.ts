/** Makes the worker threads of this process collect their heaps. Used by the main thread. */
import { subscribe } from 'node:diagnostics_channel'
import type { Session } from 'node:inspector'
import { isMainThread, type Worker } from 'node:worker_threads'
import { inspectorSession, post } from './full-gc.js'
import { openWorkerChannel } from './worker-channel.js'
import { mayCollectScript } from './worker-limit.js'

/** A worker thread that does not answer within this many ms is busy and is not waited for. */
const WORKER_TIMEOUT = 2000
/** Milliseconds between two looks whether a worker thread that has not answered still runs. */
const LOOK_INTERVAL = 50

/** Commands to the inspector of a worker thread: collect at once, and ask whether it may. */
const COLLECT = { id: 1, method: 'HeapProfiler.collectGarbage' }
const ASK = { id: 2, method: 'Runtime.evaluate', params: { silent: true, awaitPromise: true, returnByValue: true } }

/** What the inspector of a worker thread answers. */
interface Answer {
  id: number
  result?: { result?: { value?: unknown } }
}

/** Whether all worker threads have loaded `ebb/auto`, unless they were started with options of their own. */
const isPreloaded = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ').includes('ebb/auto')

/** Worker threads that the main thread has started since {@link watchWorkers}, by thread id. */
const started = new Map<number, WeakRef<Worker>>()
/** Worker threads that collect when asked over the channel, by thread id. */
const agents = new Set<number>()
/** The id of each worker thread that the inspector is attached to, by the id of its session. */
const attached = new Map<string, number>()
let channel: ReturnType<typeof openWorkerChannel> | undefined
let isWatching = false
let isAttached = false
let round = 0
/** Called for each worker thread that has collected, or is gone: with its thread id or the id of its session. */
let onAnswer: ((from: number | string, hasCollected: boolean) => void) | undefined

/**
 * Begins to take note of worker threads. Those that are started from now on and load `ebb/auto`, as all do in a program
 * that was started with it, collect in steps and without the inspector.
 */
export function watchWorkers(): void {
  if (isWatching || !isMainThread) return
  isWatching = true
  subscribe('worker_threads', noteWorker)
}

/** Takes note of a worker thread that has just started. @param message that of the channel `worker_threads` */
export function noteWorker(message: unknown): void {
  const { worker } = message as { worker: Worker }
  channel ??= openWorkerChannel((answer) => {
    if (answer.what === 'collect') return
    agents.add(answer.thread)
    if (answer.what === 'collected') onAnswer?.(answer.thread, answer.hasCollected)
  })
  for (const thread of started.keys()) if (hasEnded(thread)) started.delete(thread)
  started.set(worker.threadId, new WeakRef(worker))
}

/** Returns the number of worker threads that the main thread has started and that run; undefined if nobody watches. */
export function runningWorkers(): number | undefined {
  return isWatching ? [...started.keys()].filter((thread) => !hasEnded(thread)).length : undefined
}

/**
 * Makes each worker thread collect its own heap, all at the same time. A worker thread that has not loaded `ebb/auto`
 * collects through the inspector, at once. Does nothing in a worker thread, which cannot reach other workers.
 *
 * @param maxPause a busy worker does not collect if that would probably pause it for longer, ms; may be infinite
 * @returns number of worker threads that collected within 2 s, and of the others, which were busy
 */
export async function collectInWorkers(maxPause: number): Promise<{ collected: number; busy: number }> {
  if (!isMainThread) return NONE
  watchWorkers()
  for (const thread of agents) if (hasEnded(thread)) agents.delete(thread)
  const session = mayHaveOthers() ? await attach() : undefined
  const sessions = [...attached].filter(([, thread]) => !agents.has(thread)).map(([id]) => id)
  const pending = new Set<number | string>([...agents, ...sessions])
  if (pending.size === 0) return NONE
  const all = pending.size
  const collected = await answers(pending, () => {
    channel?.send({ what: 'collect', round: ++round, maxPause })
    if (session === undefined) return
    for (const sessionId of sessions) {
      if (maxPause === Number.POSITIVE_INFINITY) send(session, sessionId, COLLECT)
      else send(session, sessionId, { ...ASK, params: { ...ASK.params, expression: mayCollectScript(maxPause) } })
    }
  })
  // A worker of a worker may have ended, which nobody tells. It makes itself known again if it has not.
  for (const thread of pending) if (typeof thread === 'number' && !started.has(thread)) agents.delete(thread)
  return { collected, busy: all - collected }
}

const NONE = { collected: 0, busy: 0 }

function send(session: Session, sessionId: string, message: object): void {
  session.post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify(message) })
}

/** Calls `ask` and resolves with the number of collections when nobody is pending any more, or after 2 s. */
function answers(pending: Set<number | string>, ask: () => void): Promise<number> {
  return new Promise((resolve) => {
    let collected = 0
    const end = performance.now() + WORKER_TIMEOUT
    const looks = setInterval(() => {
      for (const from of pending) if (typeof from === 'number' && hasEnded(from)) onAnswer?.(from, false)
      if (performance.now() >= end) finish()
    }, LOOK_INTERVAL)
    const finish = (): void => {
      clearInterval(looks)
      onAnswer = undefined
      resolve(collected)
    }
    onAnswer = (from, hasCollected) => {
      if (pending.delete(from) && hasCollected) collected++
      if (pending.size === 0) finish()
    }
    ask()
  })
}

/** Whether a worker thread that {@link watchWorkers} has seen has ended. */
function hasEnded(thread: number): boolean {
  const reference = started.get(thread)
  // A worker that has ended has the thread id -1. A worker that runs is never collected.
  return reference !== undefined && (reference.deref()?.threadId ?? -1) !== thread
}

/** Whether there may be worker threads that do not listen to the channel. */
function mayHaveOthers(): boolean {
  if (!isPreloaded) return true
  return [...started.keys()].some((thread) => !agents.has(thread) && !hasEnded(thread))
}

/**
 * Attaches the inspector to all worker threads, also to those that start later, and stays attached: see
 * {@link inspectorSession}. Returns undefined where the permission model has no inspector.
 */
async function attach(): Promise<Session | undefined> {
  const session = await inspectorSession()
  if (session === undefined || isAttached) return session
  isAttached = true
  session.on('NodeWorker.attachedToWorker', ({ params: { sessionId, workerInfo } }) => {
    attached.set(sessionId, Number(/\d+/.exec(workerInfo.title)?.[0] ?? 0))
  })
  session.on('NodeWorker.receivedMessageFromWorker', ({ params: { sessionId, message } }) => {
    const { id, result } = JSON.parse(message) as Answer
    if (id === COLLECT.id) onAnswer?.(sessionId, true)
    else if (result?.result?.value === true) send(session, sessionId, COLLECT)
    else onAnswer?.(sessionId, false)
  })
  session.on('NodeWorker.detachedFromWorker', ({ params: { sessionId } }) => {
    attached.delete(sessionId)
    onAnswer?.(sessionId, false)
  })
  await post(session, 'NodeWorker.enable', { waitForDebuggerOnStart: false })
  return session
}
