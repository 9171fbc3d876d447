/** Collecting garbage: this thread's, and that of its worker threads. */
import type { Session } from 'node:inspector'
import { isMainThread } from 'node:worker_threads'

/** A worker that does not answer for this long (ms) is busy: it is not waited for. */
const WORKER_PATIENCE = 2000

/**
 * Collects all garbage and shrinks the heap, young generation included (`gc()` leaves that at its full size): V8's
 * `LowMemoryNotification`, which the inspector's `HeapProfiler.collectGarbage` calls. The session is connected for this alone; others
 * (a debugger, a profiler) have sessions of their own.
 *
 * @returns ms; an upper bound of the pause, since newer versions of V8 run it as a task of its own
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
 * Has each worker thread of this one collect its own heap, all at the same time, through the inspector's `NodeWorker` domain: they need
 * know nothing of it. The domain is the main thread's alone: a worker has none, and its own workers are left out.
 *
 * @returns how many did
 */
export async function collectInWorkers(): Promise<number> {
  if (!isMainThread) return 0
  const session = await connect()
  const asked = new Set<string>()
  let answered = 0
  let finish = () => {}
  const done = new Promise<void>((resolve) => {
    finish = resolve
  })
  const timer = setTimeout(finish, WORKER_PATIENCE)
  session.on('NodeWorker.attachedToWorker', ({ params: { sessionId } }) => {
    asked.add(sessionId)
    const message = JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' })
    session.post('NodeWorker.sendMessageToWorker', { sessionId, message })
  })
  const left = (sessionId: string) => {
    asked.delete(sessionId)
    if (asked.size === 0) finish()
  }
  session.on('NodeWorker.receivedMessageFromWorker', ({ params: { sessionId } }) => {
    answered++
    left(sessionId)
  })
  session.on('NodeWorker.detachedFromWorker', ({ params: { sessionId } }) => left(sessionId))
  try {
    await post(session, 'NodeWorker.enable', { waitForDebuggerOnStart: false })
    if (asked.size > 0) await done
    await post(session, 'NodeWorker.disable')
  } finally {
    clearTimeout(timer)
    session.disconnect()
  }
  return answered
}

async function connect(): Promise<Session> {
  // Loaded when first needed: a program that never gives back does not pay for it.
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
