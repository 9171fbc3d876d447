/**
 * The connections of a server: a row of numbers for each, in arrays, and no object.
 *
 * A row stays the same while its connection lives, whatever its descriptor: that changes each time it is parked. An id is the
 * row's number and how often the row has been taken, so it finds its row without a search, and is never given again.
 */
import { grown, resized, shrunk } from '../sys/arrays.js'

/** More rows than descriptors that a process can have on any machine; 2^53 / 2^22: a row can be taken two thousand million times. */
const ROWS = 2 ** 22
const MOST_USES = 2 ** 31 - 1
/** In place of a descriptor: free, and no other free row before this one. */
const FREE = -2

/** Bits of {@link Table.flags}. */
export const FRESH = 1
export const STREAM = 2
export const ENDED = 4

export class Table {
  /** By row: how often it was taken. */
  #uses = new Int32Array(0)
  /** By row: the descriptor of a parked connection; -1: an awake one; below: free, see {@link freeBefore}. */
  #fd = new Int32Array(0)
  /** By row: how often its connection was woken. */
  #wakes = new Uint32Array(0)
  #flags = new Uint8Array(0)
  /** By descriptor: the row of the connection that is parked in it. */
  #row = new Int32Array(0)

  #size = 0
  #free = -1
  /** Rows that were given back had been taken this often at most: they go on from there. */
  #usesBefore = 0

  /** Rows that are taken. */
  get size(): number {
    return this.#size
  }

  /** Rows that there are: each is below this. */
  get end(): number {
    return this.#fd.length
  }

  /** Memory of the arrays. */
  get bytes(): number {
    return (
      this.#uses.byteLength +
      this.#fd.byteLength +
      this.#wakes.byteLength +
      this.#flags.byteLength +
      this.#row.byteLength
    )
  }

  /** Takes a row; its flags are {@link FRESH}. */
  take(): number {
    if (this.#free === -1) this.#grow()
    const row = this.#free
    this.#free = freeBefore(this.#fd[row] as number)
    this.#uses[row] = (this.#uses[row] as number) + 1
    this.#fd[row] = -1
    this.#wakes[row] = 0
    this.#flags[row] = FRESH
    this.#size++
    return row
  }

  /** Frees a row. */
  drop(row: number): void {
    this.#size--
    this.#release(row)
  }

  /** The row of a connection, or -1. */
  find(id: number): number {
    const row = id % ROWS
    return id > 0 && this.id(row) === id ? row : -1
  }

  /** 0: the row is free. */
  id(row: number): number {
    return (this.#fd[row] as number) >= -1 ? (this.#uses[row] as number) * ROWS + row : 0
  }

  /** -1: awake. */
  fd(row: number): number {
    return this.#fd[row] as number
  }

  /** The row that {@link park} was told of for `fd`. */
  row(fd: number): number {
    return this.#row[fd] as number
  }

  park(row: number, fd: number): void {
    if (fd >= this.#row.length) this.#row = resized(this.#row, new Int32Array(grown(this.#row.length, fd + 1)))
    this.#fd[row] = fd
    this.#row[fd] = row
  }

  wake(row: number): number {
    this.#fd[row] = -1
    const wakes = (this.#wakes[row] as number) + 1
    this.#wakes[row] = wakes
    return wakes
  }

  wakes(row: number): number {
    return this.#wakes[row] as number
  }

  flags(row: number): number {
    return this.#flags[row] as number
  }

  setFlags(row: number, flags: number): void {
    this.#flags[row] = flags
  }

  /** Gives back the rows above the highest that is taken; lower ones are taken first from then on. */
  trim(): void {
    let highest = this.end - 1
    while (highest >= 0 && this.id(highest) === 0) highest--
    const size = shrunk(highest + 1)
    for (let row = size; row < this.end; row++) this.#usesBefore = Math.max(this.#usesBefore, this.#uses[row] as number)
    if (size < this.end) this.#resize(size)
    this.#free = -1
    let fds = 0
    for (let row = size - 1; row >= 0; row--) {
      if (this.id(row) === 0) this.#release(row)
      else fds = Math.max(fds, (this.#fd[row] as number) + 1)
    }
    if (shrunk(fds) < this.#row.length) this.#row = resized(this.#row, new Int32Array(shrunk(fds)))
  }

  #grow(): void {
    const from = this.end
    this.#resize(grown(from, from + 1))
    for (let row = this.end - 1; row >= from; row--) {
      this.#uses[row] = this.#usesBefore
      this.#release(row)
    }
  }

  #release(row: number): void {
    // A row whose ids are used up stays empty.
    const usedUp = (this.#uses[row] as number) >= MOST_USES
    this.#fd[row] = usedUp ? FREE : FREE - 1 - this.#free
    if (!usedUp) this.#free = row
  }

  #resize(size: number): void {
    this.#uses = resized(this.#uses, new Int32Array(size))
    this.#fd = resized(this.#fd, new Int32Array(size))
    this.#wakes = resized(this.#wakes, new Uint32Array(size))
    this.#flags = resized(this.#flags, new Uint8Array(size))
  }
}

/** Free rows are a list: the one that was free before this one, or -1. */
function freeBefore(mark: number): number {
  return FREE - 1 - mark
}
