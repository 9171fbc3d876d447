/**
 * The scope of a callback: everything that ebb calls back goes through {@link CallbackScopes.run}.
 *
 * Node calls a program back through its `MakeCallback`, which sets the async context, and afterwards passes on an
 * exception and runs ticks and microtasks. ebb handles the events of many connections in one callback of Node, as
 * Node's own timers do. So ebb does the same around each callback of a connection:
 *
 * - The async context is that of the connection. Its async id is the same as long as the connection is open, parked or
 *   awake, and no object exists between two callbacks. It is empty: no store of an `AsyncLocalStorage` comes from the
 *   code that made the server, from another connection, or from the caller of `send()`, `broadcast()` or `close()`.
 * - An exception becomes an `uncaughtException`, in the context of the connection. The rest of the batch is handled.
 * - Ticks and microtasks run after the whole callback, and before the callback of the next connection.
 *
 * A callback that the program causes by calling a method, such as `disconnect` by `closeConnection()`, runs within that
 * call. Then only the context changes: ticks run after the program's own callback, as always, and an exception is
 * reported in a microtask, not to the caller.
 */
import { AsyncResource, type AsyncResourceOptions } from 'node:async_hooks'
import { lengthened, shortened } from '../arrays.js'
import { symbolOf } from './symbols.js'

/** Async id of the code that starts a process or a thread, in every version of Node. */
const BOOTSTRAP = 1

const resource = new AsyncResource('EBB', { requireManualDestroy: true })
const ASYNC_ID = symbolOf(resource, 'async_id_symbol')
const TRIGGER_ID = symbolOf(resource, 'trigger_async_id_symbol')

/** Whether this runtime lets ebb set the async context of a callback. True for Node 20 to 26. */
export const hasCallbackScopes = ASYNC_ID !== undefined && TRIGGER_ID !== undefined

/**
 * An `AsyncResource` that was not constructed. The constructor would give it a new id, and the stores of the current
 * context. There is a new one for each callback, because up to Node 22, `enterWith()` keeps its store in the resource.
 */
class Scope {
  [key: symbol]: number

  constructor(asyncId: number, triggerId: number) {
    this[ASYNC_ID as symbol] = asyncId
    this[TRIGGER_ID as symbol] = triggerId
  }
}
Object.setPrototypeOf(Scope.prototype, AsyncResource.prototype)

const { runInAsyncScope, emitDestroy } = AsyncResource.prototype
/** Used for each id that ends: nothing is called back with it. */
const ended = new Scope(0, 0)

interface ProcessInternals {
  /** The active domain, if `node:domain` is loaded. It pairs each new asynchronous resource with this domain. */
  domain?: object | null | undefined
  /** Runs ticks and microtasks. Every version since 0.10 has it. It costs 11 ns if there are none. */
  _tickCallback?: () => void
  /**
   * Passes an exception to `uncaughtExceptionMonitor`, and to `uncaughtException` or the capture callback, which a
   * domain sets. Node calls it for an exception that leaves one of its callbacks.
   *
   * @returns false if nobody handled it; Node then ends the process
   */
  _fatalException?: (error: unknown, fromPromise: boolean) => boolean
}
const internals = process as ProcessInternals
const { _tickCallback, _fatalException } = internals
const runTicks = _tickCallback?.bind(process) ?? (() => void setImmediate(() => {}))

/** Whether a batch is being handled, and no code of the program is on the stack. */
let atRoot = false

/** Whether a callback may have entered a store in the context of batches. */
let hasSharedStores = false

/** Whether the present context is known to be empty: at the root of a batch. */
function isEmpty(): boolean {
  return atRoot && !hasSharedStores
}

/**
 * Handles a batch of events, in a callback of Node. Between the events, {@link CallbackScopes.run} runs ticks and
 * microtasks.
 */
export function runBatch<T>(batch: () => T): T {
  const before = atRoot
  atRoot = true
  try {
    return batch()
  } finally {
    atRoot = before
  }
}

/**
 * Calls `fn` in an empty async context. For what ebb makes for itself, such as timers: it would keep the stores of the
 * caller, and pass them on.
 */
export function outside<T>(fn: () => T): T {
  if (internals.domain) return inDomain(undefined, () => outside(fn))
  return hasCallbackScopes ? (runInAsyncScope.call(new Scope(BOOTSTRAP, 0), fn) as T) : fn()
}

/** Longest time of a timer of Node, in ms. */
const LONGEST_TIMEOUT = 2 ** 31 - 1

/** Handles a batch of events after `ms`, in an empty async context. The timer does not keep the process running. */
export function batchAfter(ms: number, batch: () => void): NodeJS.Timeout {
  return outside(() => setTimeout(() => runBatch(batch), Math.min(ms, LONGEST_TIMEOUT))).unref()
}

/** Handles a batch of events in the next turn of the event loop, in an empty async context. */
export function batchSoon(batch: () => void): void {
  outside(() => setImmediate(() => runBatch(batch)))
}

function inDomain<T>(domain: object | undefined, fn: () => T): T {
  const active = internals.domain
  internals.domain = domain
  try {
    return fn()
  } finally {
    internals.domain = active
  }
}

/** Handles one event of a batch that is not a callback of the program. An exception does not stop the batch. */
export function runEvent<A, B>(fn: (a: A, b: B) => void, self: unknown, a: A, b: B): void {
  try {
    fn.call(self, a, b)
  } catch (error) {
    report(error)
  }
}

/** The async ids of a server and its connections, by an index such as a row or a descriptor. */
export class CallbackScopes {
  readonly #type: string
  /** What `async_hooks` see of the server. Undefined until it is needed. */
  #server: AsyncResource | undefined
  /** Async id of {@link #server}; 0 until it is needed. */
  #serverAsyncId = 0
  /** The domain in which the server listens. An exception of its connections goes there, as with Node. */
  #domain: object | undefined
  /** By index: async id of the connection; 0 until its first callback. */
  #ids = new Float64Array(0)

  /** @param type what `async_hooks` call the server */
  constructor(type = 'EBBSERVER') {
    this.#type = type
  }

  /** Memory of the ids, in bytes. */
  get bytes(): number {
    return this.#ids.byteLength
  }

  /** Called when the server begins to listen, by its caller. */
  onListening(): void {
    this.#domain = internals.domain ?? undefined
  }

  /** Calls `fn` as a callback of the server. @returns its result; undefined if it throws */
  runForServer<T, A, B>(fn: (a: A, b: B) => T, self: unknown, a?: A, b?: B): T | undefined {
    return run(new Scope(this.#serverId(), BOOTSTRAP), fn, self, a as A, b as B)
  }

  /** Calls `fn` as a callback of the connection with this id. @returns its result; undefined if it throws */
  run<T, A, B>(id: number, fn: (a: A, b: B) => T, self: unknown, a?: A, b?: B): T | undefined {
    return run(new Scope(id, this.#serverId()), fn, self, a as A, b as B)
  }

  /** Calls `fn` as a callback of a connection. @returns its result; undefined if it throws */
  callBack<T, A, B>(index: number, fn: (a: A, b: B) => T, self: unknown, a?: A, b?: B): T | undefined {
    const id = this.#idOf(index)
    if (id !== 0) return this.run(id, fn, self, a, b)
    const made = this.#begin(index)
    // Elsewhere, what async hooks made of the resource might come from the caller.
    const scope = isEmpty() ? made : new Scope(made.asyncId(), this.#serverId())
    return run(scope, fn, self, a as A, b as B)
  }

  /** Returns the async id of a connection. The first call makes it. */
  id(index: number): number {
    return this.#idOf(index) || this.#begin(index).asyncId()
  }

  /** Returns the async id of a connection; 0 if it has none yet. */
  #idOf(index: number): number {
    if (index >= this.#ids.length) this.#ids = lengthened(this.#ids, index)
    return small(this.#ids[index] as number)
  }

  /** Makes a connection known to `async_hooks`, and keeps its async id. */
  #begin(index: number): AsyncResource {
    let made: AsyncResource
    if (this.#domain !== undefined) made = outside(this.#makeInDomain)
    else made = isEmpty() ? this.#make() : outside(this.#make)
    this.#ids[index] = made.asyncId()
    return made
  }

  // Fields, because a crowd must not leave garbage for each connection.
  #options: AsyncResourceOptions | undefined
  readonly #make = (): AsyncResource => {
    this.#options ??= { triggerAsyncId: this.#serverId(), requireManualDestroy: true }
    return new AsyncResource('EBBCONNECTION', this.#options)
  }
  readonly #makeInDomain = (): AsyncResource => inDomain(this.#domain, this.#make)

  /** Forgets the async id of a connection that is closed. Its last callback may still run. */
  end(index: number): void {
    const id = this.#ids[index] ?? 0
    if (id === 0) return
    this.#ids[index] = 0
    // `async_hooks` hear of it in a later turn.
    if (!hasCallbackScopes) return
    ended[ASYNC_ID as symbol] = id
    emitDestroy.call(ended as unknown as AsyncResource)
  }

  /** Shrinks the ids. @param end no index from here on has an id */
  trim(end: number): void {
    this.#ids = shortened(this.#ids, end)
  }

  #serverId(): number {
    if (this.#serverAsyncId === 0) {
      this.#server = outside(() => new AsyncResource(this.#type))
      this.#serverAsyncId = small(this.#server.asyncId())
    }
    return this.#serverAsyncId
  }
}

/** Returns a number as a small integer, if it is one: V8 boxes numbers of a Float64Array, and those of Node. */
function small(id: number): number {
  const integer = id | 0
  return integer === id ? integer : id
}

// What `guarded` calls next. As arguments of `runInAsyncScope()` they would become an array for each callback.
let nextFn: ((a: unknown, b: unknown) => unknown) | undefined
let nextSelf: unknown
let nextA: unknown
let nextB: unknown
let nextIsRoot = false

function run<T, A, B>(scope: Scope | AsyncResource, fn: (a: A, b: B) => T, self: unknown, a: A, b: B): T | undefined {
  const isRoot = atRoot
  if (!isRoot && internals.domain) return inDomain(undefined, () => run(scope, fn, self, a, b))
  // Those of a callback that has not begun, if a `before` hook of `async_hooks` has led here.
  const otherFn = nextFn
  const otherSelf = nextSelf
  const otherA = nextA
  const otherB = nextB
  const otherIsRoot = nextIsRoot
  atRoot = false
  nextFn = fn as (a: unknown, b: unknown) => unknown
  nextSelf = self
  nextA = a
  nextB = b
  nextIsRoot = isRoot
  const result = hasCallbackScopes ? runInAsyncScope.call(scope, guarded) : guarded()
  nextFn = otherFn
  nextSelf = otherSelf
  nextA = otherA
  nextB = otherB
  nextIsRoot = otherIsRoot
  if (isRoot) {
    drainTicks()
    atRoot = true
  }
  return result as T | undefined
}

/**
 * Calls `fn` in the context of the batch, which is empty until a callback enters a store. No object is made. Ticks and
 * exceptions are handled as those of {@link CallbackScopes.run}.
 */
export function runWithoutContext<A, B>(fn: (a: A, b: B) => void, a: A, b: B): void {
  hasSharedStores = true
  const isRoot = atRoot
  atRoot = false
  try {
    fn(a, b)
  } catch (error) {
    if (isRoot) report(error)
    else queueMicrotask(() => report(error))
  }
  if (isRoot) {
    drainTicks()
    atRoot = true
  }
}

/** The exception is reported in here, where the context and the domain of the callback still apply. */
function guarded(): unknown {
  const fn = nextFn as (a: unknown, b: unknown) => unknown
  const self = nextSelf
  const a = nextA
  const b = nextB
  const isRoot = nextIsRoot
  // A callback that is over must not keep what it was called with.
  nextFn = nextSelf = nextA = nextB = undefined
  try {
    return fn.call(self, a, b)
  } catch (error) {
    if (isRoot) report(error)
    else reportLater(error)
    return undefined
  }
}

/** Runs ticks and microtasks until there are none, whatever they throw. */
function drainTicks(): void {
  for (;;) {
    try {
      runTicks()
      return
    } catch (error) {
      report(error)
    }
  }
}

/** Reports an exception in a microtask, in the present context. */
export function reportLater(error: unknown): void {
  // Bound, because up to Node 22 an exception of a microtask has no store.
  queueMicrotask(AsyncResource.bind(() => report(error)))
}

/**
 * Reports an exception as Node does, at once. If nobody will handle it, throws it instead: Node gets it from the
 * batch's own callback, prints it, and ends the process.
 */
function report(error: unknown): void {
  const isHandled = process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback()
  if (!isHandled || _fatalException?.call(process, error, false) !== true) throw error
}
