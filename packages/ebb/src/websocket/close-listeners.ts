/** Listeners of `close` that others have put on the sockets of connections, while these are parked. */
import type { Socket } from 'node:net'

type Listener = (...args: unknown[]) => void

/** A listener, and those that follow it. Most connections have one or none, so it is small. */
class CloseListener {
  /** The socket that it was put on. Such a listener may look at its `this`. */
  readonly socket: Socket
  readonly listener: Listener
  readonly once: boolean
  readonly next: CloseListener | undefined

  constructor(socket: Socket, listener: Listener, once: boolean, next: CloseListener | undefined) {
    this.socket = socket
    this.listener = listener
    this.once = once
    this.next = next
  }
}

/** The listeners of the connections of one server, by row. */
export class CloseListeners {
  #first: (CloseListener | undefined)[] = []
  #count = 0

  /** Takes the listeners from a socket that is about to be destroyed. */
  take(row: number, socket: Socket): void {
    const listeners = socket.rawListeners('close') as (Listener & { listener?: Listener })[]
    if (listeners.length === 0) return
    socket.removeAllListeners('close')
    let first: CloseListener | undefined
    for (const raw of listeners.reverse()) {
      first = new CloseListener(socket, raw.listener ?? raw, raw.listener !== undefined, first)
    }
    // Without gaps, an array takes 8 bytes for each row.
    while (this.#first.length < row) this.#first.push(undefined)
    this.#first[row] = first
    this.#count++
  }

  /** Whether a connection has listeners. */
  has(row: number): boolean {
    return this.#first[row] !== undefined
  }

  /** Gives the listeners of a connection that wakes to its new socket. */
  restore(row: number, socket: Socket): void {
    for (let each = this.#remove(row); each !== undefined; each = each.next) {
      socket[each.once ? 'once' : 'on']('close', each.listener)
    }
  }

  /** Calls the listeners of a connection that was closed while it was parked, in later ticks. */
  call(row: number, hadError: boolean): void {
    const first = this.#remove(row)
    if (first !== undefined) process.nextTick(callAll, first, hadError)
  }

  #remove(row: number): CloseListener | undefined {
    const first = this.#first[row]
    if (first === undefined) return undefined
    this.#first[row] = undefined
    if (--this.#count === 0) this.#first = []
    return first
  }
}

function callAll(first: CloseListener, hadError: boolean): void {
  for (let each: CloseListener | undefined = first; each !== undefined; each = each.next) {
    const { listener, socket } = each
    process.nextTick(() => listener.call(socket, hadError))
  }
}
