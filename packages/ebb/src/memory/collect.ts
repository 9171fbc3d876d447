/** Collects all garbage at once: of this thread, and of its worker threads. */
import type { Session } from 'node:inspector'
import { isMainThread } from 'node:worker_threads'

/** A worker thread that does not answer within this many ms is busy and is not waited for. */
const WORKER_TIMEOUT = 2000

/**
 * Collects all garbage of this thread and shrinks its heap. Uses `HeapProfiler.collectGarbage` of the inspector, which
 * calls V8's `LowMemoryNotification`; `gc()` would leave the young generation at its full size. Connects an inspector
 * session of its own, so a debugger or profiler is not disturbed.
 *
 * @returns an upper bound of the pause in ms, because newer versions of V8 run the collection as a separate task
 */
export async function collectAll(): Promise<number> {
  const session = await connect()
  const start = performance.now()
  try {
    await post(session, 'HeapProfiler.collectGarbage')
    return performance.now() - start
  } finally {
    session.disconnect()
  }
}

/**
 * Makes each worker thread of the main thread collect its own heap, all at the same time, through the inspector's
 * `NodeWorker` domain. The workers need no code for it. Returns 0 in a worker thread, which cannot reach its own
 * workers.
 *
 * @returns number of worker threads that collected within 2 s
 */
export async function collectInWorkers(): Promise<number> {
  if (!isMainThread) return 0
  const session = await connect()
  const pending = new Set<string>()
  let collected = 0
  let finish = () => {}
  const done = new Promise<void>((resolve) => {
    finish = resolve
  })
  const timer = setTimeout(finish, WORKER_TIMEOUT)
  session.on('NodeWorker.attachedToWorker', ({ params: { sessionId } }) => {
    pending.add(sessionId)
    const message = JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' })
    session.post('NodeWorker.sendMessageToWorker', { sessionId, message })
  })
  const settle = (sessionId: string) => {
    pending.delete(sessionId)
    if (pending.size === 0) finish()
  }
  session.on('NodeWorker.receivedMessageFromWorker', ({ params: { sessionId } }) => {
    collected++
    settle(sessionId)
  })
  session.on('NodeWorker.detachedFromWorker', ({ params: { sessionId } }) => settle(sessionId))
  try {
    await post(session, 'NodeWorker.enable', { waitForDebuggerOnStart: false })
    if (pending.size > 0) await done
    await post(session, 'NodeWorker.disable')
  } finally {
    clearTimeout(timer)
    session.disconnect()
  }
  return collected
}

async function connect(): Promise<Session> {
  // Loaded when first needed, so that a program which never releases memory does not pay for it.
  const { Session } = await import('node:inspector')
  const session = new Session()
  session.connect()
  return session
}

function post(session: Session, method: string, params: object = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    session.post(method, params, (error) => (error ? reject(error) : resolve()))
  })
}
