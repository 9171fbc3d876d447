/**
 * Node's timers as they were when this library was first loaded: with `ebb/auto`, before the program began. A program
 * may replace those of `globalThis` afterwards, as the fake timers of test libraries do. With those, a governor would
 * do nothing, and the program would see a timer that it has not made.
 */
import { isMainThread } from 'node:worker_threads'

const { clearInterval, clearTimeout, setImmediate, setInterval, setTimeout } = globalThis

const own = { clearInterval, clearTimeout, setImmediate, setInterval, setTimeout }

const TIMERS = Symbol.for('ebb.timers.1')
/** Files that are loaded later have a copy of this module of their own. */
const scope = globalThis as { [TIMERS]?: typeof own }

export const timers = scope[TIMERS] ?? own
// A worker thread has no governor. A frozen object refuses without an exception.
if (isMainThread) Reflect.set(scope, TIMERS, timers)
