/**
 * What remains of a socket that is destroyed. Of the 2.2 KB that the application keeps if it keeps such a socket, most
 * are the states of its two streams and the table of its listeners.
 *
 * | what | what becomes of it |
 * |---|---|
 * | listeners | kept in an object that has room for them alone |
 * | states of the streams | sockets with the same state share it, until something is about to change it |
 */
import type { Socket } from 'node:net'
import { listenerCompactor } from '../../sys/node/listeners.js'

type State = Record<PropertyKey, unknown>

const STATES = ['_readableState', '_writableState'] as const
type Streams = Record<(typeof STATES)[number], State>

/** Different states that are shared. Sockets of one program differ in little: an encoding, a high water mark. */
const MOST = 8

const shared: Record<(typeof STATES)[number], State[]> = { _readableState: [], _writableState: [] }

const compactListeners = listenerCompactor()

/**
 * Makes a socket smaller that is destroyed and has emitted `close`. Its prototype must be one of
 * {@link ownStatesPrototype}.
 */
export function compactDestroyed(socket: Socket): void {
  compactListeners(socket)
  const streams = socket as unknown as Streams
  for (const name of STATES) {
    const same = sharedState(shared[name], streams[name])
    if (same !== undefined) streams[name] = same
  }
  // `http` puts these on a socket, and they would not be those of the prototype.
  const prototype = Object.getPrototypeOf(socket) as Record<string, unknown>
  for (const name of OF_HTTP) if (Object.hasOwn(socket, name)) Object.assign(socket, { [name]: prototype[name] })
}

const OF_HTTP = ['on', 'addListener', 'prependListener']

/** Returns a state that equals `state`; undefined if there are too many of them already. */
function sharedState(states: State[], state: State): State | undefined {
  for (const other of states) if (isEqual(state, other)) return other
  if (states.length === MOST) return undefined
  const copy = copyOf(state)
  states.push(copy)
  return copy
}

function isEqual(state: State, other: State): boolean {
  const keys = Reflect.ownKeys(state)
  if (Object.getPrototypeOf(state) !== Object.getPrototypeOf(other)) return false
  if (keys.length !== Reflect.ownKeys(other).length) return false
  return keys.every((key) => key in other && isEqualValue(state[key], other[key]))
}

function isEqualValue(value: unknown, other: unknown): boolean {
  if (Object.is(value, other)) return true
  if (Array.isArray(value)) return value.length === 0 && Array.isArray(other) && other.length === 0
  // Bound to one socket. A destroyed socket does not call it.
  return typeof value === 'function' && typeof other === 'function' && value.name === other.name
}

/** Copies a state, with arrays of its own, and without what leads to a socket. */
function copyOf(state: State): State {
  const copy = Object.create(Object.getPrototypeOf(state) as object, Object.getOwnPropertyDescriptors(state)) as State
  for (const key of Reflect.ownKeys(copy)) {
    const value = copy[key]
    if (Array.isArray(value)) copy[key] = [...value]
    else if (typeof value === 'function') copy[key] = withName(value.name)
  }
  return copy
}

function withName(name: string): () => void {
  return Object.defineProperty(() => {}, 'name', { value: name })
}

/** Gives a socket states of its own again. */
function ownStates(socket: Socket): void {
  const streams = socket as unknown as Streams
  for (const name of STATES) {
    const state = streams[name]
    if (shared[name].includes(state)) streams[name] = copyOf(state)
  }
}

/** Methods that only read, or change no more than the listeners. */
const READERS = new Set<PropertyKey>([
  'constructor',
  'emit',
  'eventNames',
  'getMaxListeners',
  'isPaused',
  'listenerCount',
  'listeners',
  'rawListeners',
  'setMaxListeners',
  'address',
  '_getpeername',
  '_getsockname',
  '_unrefTimer'
])

/**
 * Makes a prototype between `base`, that of sockets, and that of destroyed sockets: whatever might change the state of
 * a stream gives the socket states of its own first.
 */
export function ownStatesPrototype(base: Socket): Socket {
  const prototype = Object.create(base) as Socket
  for (let from: object = base; from !== Object.prototype && from !== null; from = Object.getPrototypeOf(from)) {
    for (const key of Reflect.ownKeys(from)) {
      if (READERS.has(key) || Object.hasOwn(prototype, key)) continue
      const own = owning(Object.getOwnPropertyDescriptor(from, key) as PropertyDescriptor)
      if (own !== undefined) Object.defineProperty(prototype, key, own)
    }
  }
  return prototype
}

type Method = (...args: unknown[]) => unknown

/** Returns a property that gives a socket its own states before it is called or set; undefined for one that reads. */
function owning({ value, get, set, ...attributes }: PropertyDescriptor): PropertyDescriptor | undefined {
  if (typeof value === 'function') {
    const method = value as Method
    return { ...attributes, writable: true, configurable: true, value: withStates(method) }
  }
  if (get === undefined || set === undefined) return undefined
  return { ...attributes, get, set: withStates(set as Method), configurable: true }
}

function withStates(method: Method): Method {
  return function (this: Socket, ...args) {
    ownStates(this)
    return Reflect.apply(method, this, args)
  }
}
