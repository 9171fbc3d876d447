/** Connections of one server of which another process has duplicates, and which this process goes on serving. */
import type { ConnectionKeeper, MovedConnection } from '../socket/moved.js'
import { grown, resized } from '../sys/arrays.js'
import type { Movable } from './movable.js'
import { DROP, encodeNumbers } from './protocol.js'

// Bits of the state of a row.
/** The other process has it, or may have it. */
const SENT = 1
/** It is to be sent. */
const PENDING = 2
/** It can still move: see {@link Copies.settle}. */
const MOVABLE = 4

/** Who sends the connections. */
export interface CopiesHost {
  /** Called when a connection is to be sent. */
  schedule(): void
  /** Sends a DROP, before it returns. */
  drop(message: Buffer): void
  /** Called when the server stops listening. */
  unlisten(index: number): void
}

/**
 * Tells which connections another process has. What it has is untouched: a DROP is sent before anything is read from a
 * connection.
 */
export class Copies implements ConnectionKeeper {
  /** Index of the server, as the other process knows it. */
  readonly index: number
  readonly #host: CopiesHost
  readonly #server: Movable
  /** Whether the other process takes no row of a connection that it has, so that a DROP comes before a second one. */
  readonly #dropsFirst: boolean
  /** By row. */
  #state = new Uint8Array(64)
  /** Rows that are pending, or were. */
  #pending: number[] = []
  readonly #drop = encodeNumbers(DROP, [0, 0])

  constructor(host: CopiesHost, server: Movable, index: number, dropsFirst = false) {
    this.#host = host
    this.#server = server
    this.index = index
    this.#dropsFirst = dropsFirst
    this.#drop.writeDoubleLE(index, this.#drop.length - 16)
  }

  /** Number of rows that are pending, or were. */
  get pending(): number {
    return this.#pending.length
  }

  parked(row: number): void {
    if (row >= this.#state.length) {
      this.#state = resized(this.#state, new Uint8Array(grown(this.#state.length, row + 1)))
    }
    const state = this.#state[row] as number
    if ((state & PENDING) !== 0) return
    this.#state[row] = state | PENDING
    this.#pending.push(row)
    this.#host.schedule()
  }

  leaving(row: number): void {
    const state = this.#state[row] ?? 0
    if (state === 0) return
    this.#state[row] = 0
    if ((state & SENT) !== 0) this.#sendDrop(row)
  }

  stopped(): void {
    this.#host.unlisten(this.index)
  }

  #sendDrop(row: number): void {
    this.#drop.writeDoubleLE(this.#server.idOf(row), this.#drop.length - 8)
    this.#host.drop(this.#drop)
  }

  /** Returns the next connection that is to be sent, which then counts as sent. */
  next(): MovedConnection | undefined {
    for (;;) {
      const row = this.#pending.pop()
      if (row === undefined) return undefined
      const state = this.#state[row] as number
      if ((state & PENDING) === 0) continue
      this.#state[row] = state & ~PENDING
      if (!this.#server.canKeep(row)) {
        this.leaving(row)
        continue
      }
      if (this.#dropsFirst && (state & SENT) !== 0) this.#sendDrop(row)
      this.#state[row] = SENT
      return this.#server.describe(row)
    }
  }

  /** The other process has, or may have, what was parked so far. @param isSure whether it has all of it */
  takeAsSent(isSure: boolean): void {
    for (const row of this.#pending) this.#state[row] = isSure ? SENT : SENT | PENDING
    if (isSure) this.#pending = []
  }

  /**
   * Compares what was sent with the connections that can move now, and drops the others.
   *
   * @param rows of all connections that can move
   * @returns the rows that are still to be sent
   */
  settle(rows: readonly number[]): number[] {
    const left: number[] = []
    for (const row of rows) {
      if ((this.#state[row] ?? 0) === SENT) this.#state[row] = SENT | MOVABLE
      else {
        this.leaving(row)
        left.push(row)
      }
    }
    for (const [row, state] of this.#state.entries()) if (state === SENT) this.leaving(row)
    this.clear()
    return left
  }

  /** Forgets that anything was sent. */
  clear(): void {
    this.#state.fill(0)
    this.#pending = []
  }
}
