/** Where an `EventEmitter` keeps its listeners. */
import type { EventEmitter } from 'node:events'

/** Makes the listeners of an emitter smaller. It goes on as before. */
export type CompactListeners = (emitter: EventEmitter) => void

/** With more events, V8 would keep them in a hash table all the same. */
const MOST_EVENTS = 8

/**
 * Returns a function that makes the listeners of an emitter smaller. Node keeps them in a hash table, which takes 180
 * bytes and more, and does not shrink.
 *
 * Use a function of its own for each kind of emitter: V8 gives the objects of each function the size that they need.
 */
export function listenerCompactor(): CompactListeners {
  /** An object whose properties V8 keeps in place, and which inherits nothing. */
  class Events {
    [event: PropertyKey]: unknown
  }
  Object.setPrototypeOf(Events.prototype, null)
  delete (Events.prototype as { constructor?: unknown }).constructor

  return (emitter) => {
    const internals = emitter as unknown as { _events: Record<PropertyKey, unknown> | undefined }
    const { _events: events } = internals
    if (events === undefined) return
    // Streams begin with events that have no listeners.
    const names = Reflect.ownKeys(events).filter((name) => events[name] !== undefined)
    if (names.length > MOST_EVENTS) return
    const compact = new Events()
    for (const name of names) compact[name] = events[name]
    internals._events = compact
  }
}
