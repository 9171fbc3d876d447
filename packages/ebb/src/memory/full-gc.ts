/** Collects all garbage of this thread at once, and shrinks its heap. */
import type { Session } from 'node:inspector'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Gc = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void

/**
 * V8 12 (Node 22) and later: `gc()` has a flavor that also shrinks the young generation. The one without does not, so
 * older versions collect through the inspector.
 */
const FIRST_WITH_FLAVOR = 12

let gc: Gc | undefined
let session: Session | undefined

/**
 * Collects all garbage of this thread and shrinks its heap, as V8's `LowMemoryNotification` does.
 *
 * @returns the pause in ms, or undefined where it cannot be done: Node 20 under the permission model
 */
export async function collectFully(): Promise<number | undefined> {
  if (Number.parseInt(process.versions.v8, 10) < FIRST_WITH_FLAVOR) return collectByInspector()
  gc ??= exposedGc()
  const collect = gc
  if (collect === undefined) return collectByInspector()
  return new Promise((resolve) => {
    // In an iteration of its own, where no function on the stack holds an object.
    setImmediate(() => {
      const start = performance.now()
      collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
      resolve(performance.now() - start)
    })
  })
}

/** Returns V8's `gc()` without a trace in this program's global object; undefined if there is none. */
function exposedGc(): Gc | undefined {
  const isExposed = 'gc' in globalThis
  try {
    // Counts for contexts that are made from now on.
    if (!isExposed) setFlagsFromString('--expose-gc')
    return runInNewContext('gc') as Gc
  } catch {
    return undefined
  } finally {
    if (!isExposed) setFlagsFromString('--no-expose-gc')
  }
}

async function collectByInspector(): Promise<number | undefined> {
  const opened = await inspectorSession()
  if (opened === undefined) return undefined
  const start = performance.now()
  await post(opened, 'HeapProfiler.collectGarbage')
  return performance.now() - start
}

/**
 * Returns this thread's inspector session, which stays connected: a session that disconnects makes V8 forget the ids of
 * heap snapshots, and ends allocation tracking of all sessions.
 *
 * @returns undefined where the permission model or the build has no inspector
 */
export async function inspectorSession(): Promise<Session | undefined> {
  if (session !== undefined) return session
  try {
    // Loaded when first needed, so that a program which never needs it does not pay for it.
    const inspector = await import('node:inspector')
    const opened = new inspector.Session()
    opened.connect()
    session = opened
  } catch {
    return undefined
  }
  return session
}

/** Sends a command to the inspector and resolves when it is done. */
export function post(to: Session, method: string, params: object = {}): Promise<void> {
  return new Promise((resolve, reject) => {
    to.post(method, params, (error) => (error ? reject(error) : resolve()))
  })
}
