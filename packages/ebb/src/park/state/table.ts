/**
 * The connections of a server: a row of numbers for each, in typed arrays, and no object.
 *
 * A connection has the same row as long as it is open, while its descriptor changes each time it is parked. The id of a
 * connection combines the number of its row with how often that row has been used. So an id leads to its row without a
 * search, and is never reused.
 */
import { grown, lengthened, resized, shortened, shrunk } from '../../sys/arrays.js'

/** Upper limit of rows, above any descriptor limit. Of the 53 bits of an id, 31 are left for the uses of a row. */
export const ROWS = 2 ** 22
/** Highest number of uses of a row. */
export const MOST_USES = 2 ** 31 - 1
/**
 * A free row holds a number of at most this in place of a descriptor: this number at the end of the free list, else
 * {@link linkTo} the next free row.
 */
const FREE = -2

// Bits of {@link Table.flags}.

/** The connection has not sent a byte. */
export const FRESH = 1
/** The connection is a stream: see `streams.ts`. */
export const STREAM = 2
/** A FIN was sent while the connection was parked. */
export const ENDED = 4
/** The connection speaks another protocol than its server: see `upgrades.ts`. */
export const UPGRADED = 8
/** The header of the PROXY protocol was read. */
export const PROXIED = 16
/** The connection does not keep the process running while it is parked: `unref()`. */
export const UNREFERENCED = 32
/** `TCP_NODELAY` is set. */
export const NO_DELAY = 64
/** `SO_KEEPALIVE` is set. */
export const KEEP_ALIVE = 128
/** The timeout of the parked connection has a listener of the application: `socket.setTimeout()`. */
export const TIMEOUT = 256
/** The application reads a header of the PROXY protocol from the first socket, so the connection stays awake. */
export const WRAPPED = 512

/** Flags of connections that can move to another process. */
export const MOVABLE = FRESH | STREAM | ENDED | UPGRADED | PROXIED | UNREFERENCED | NO_DELAY | KEEP_ALIVE | TIMEOUT

/** The rows of all open connections. */
export class Table {
  /** By row: how often it was used. */
  #uses = new Int32Array(0)
  /**
   * By row: the descriptor of a parked connection; -1 for an awake connection; below -1 for a free row, see
   * {@link FREE}.
   */
  #fd = new Int32Array(0)
  /** By row: how often the connection was woken. */
  #wakes = new Uint32Array(0)
  #flags = new Uint16Array(0)
  /** By descriptor: the row of the parked connection. */
  #row = new Int32Array(0)

  #size = 0
  /** First row of the free list; -1 if it is empty. */
  #free = -1
  /** Highest use count of the rows that {@link trim} has removed; new rows continue from it. */
  #usesBefore = 0

  /** Rows whose ids belong to connections in another process: see {@link reserve}. */
  readonly #reserved = new Set<number>()

  /** Number of rows in use. */
  get size(): number {
    return this.#size
  }

  /** Number of rows, used and free. Every row is below this. */
  get end(): number {
    return this.#fd.length
  }

  /** Memory of the arrays, in bytes. */
  get bytes(): number {
    return (
      this.#uses.byteLength +
      this.#fd.byteLength +
      this.#wakes.byteLength +
      this.#flags.byteLength +
      this.#row.byteLength
    )
  }

  /** Takes a free row for a new connection. Its flags are {@link FRESH}, and it counts as awake. */
  take(): number {
    if (this.#free === -1) this.#growTo(this.end + 1)
    const row = this.#free
    this.#free = nextFree(this.#fd[row] as number)
    this.#uses[row] = (this.#uses[row] as number) + 1
    this.#fd[row] = -1
    this.#wakes[row] = 0
    this.#flags[row] = FRESH
    this.#size++
    return row
  }

  /** Highest use count of any row, used or free. */
  get mostUses(): number {
    return this.#uses.reduce((most, uses) => Math.max(most, uses), this.#usesBefore)
  }

  /**
   * Keeps the row of an id free for a connection that another process has. Until {@link occupy}, the id is not found.
   * After the last one, {@link relink} must be called.
   *
   * @returns false if the id is not valid, or its row is in use or reserved
   */
  reserve(id: number): boolean {
    const row = id % ROWS
    const uses = Math.floor(id / ROWS)
    if (!Number.isSafeInteger(id) || row < 0 || uses < 1 || uses > MOST_USES || this.#reserved.has(row)) return false
    if (row >= this.end) this.#growTo(row + 1)
    if (this.id(row) !== 0) return false
    this.#uses[row] = uses
    this.#fd[row] = FREE
    this.#reserved.add(row)
    return true
  }

  /** Whether the row of an id is reserved for it. */
  isReserved(id: number): boolean {
    const row = id % ROWS
    return this.#reserved.has(row) && (this.#uses[row] as number) === Math.floor(id / ROWS)
  }

  /** Takes the row that is reserved for an id. It counts as awake. */
  occupy(id: number, wakes: number, flags: number): number {
    const row = id % ROWS
    this.#reserved.delete(row)
    this.#fd[row] = -1
    this.#wakes[row] = wakes
    this.#flags[row] = flags
    this.#size++
    return row
  }

  /** Frees the row that is reserved for an id, because its connection will not come. */
  release(id: number): void {
    if (!this.isReserved(id)) return
    this.#reserved.delete(id % ROWS)
    this.#addToFreeList(id % ROWS)
  }

  /** Makes the free list anew. No new id has fewer uses of its row than `leastUses`. */
  relink(leastUses: number): void {
    this.#usesBefore = Math.max(this.#usesBefore, leastUses)
    this.#free = -1
    for (let row = this.end - 1; row >= 0; row--) {
      if (this.id(row) !== 0 || this.#reserved.has(row)) continue
      this.#uses[row] = Math.max(this.#uses[row] as number, leastUses)
      this.#addToFreeList(row)
    }
  }

  /** Frees a row. */
  drop(row: number): void {
    this.#size--
    this.#addToFreeList(row)
  }

  /** Returns the row of a connection; -1 if it is closed. */
  find(id: number): number {
    const row = id % ROWS
    return id > 0 && this.id(row) === id ? row : -1
  }

  /** The ids of all connections by row. Connections may come and go meanwhile. */
  *ids(): Iterable<number> {
    for (let row = 0; row < this.end; row++) {
      const id = this.id(row)
      if (id !== 0) yield id
    }
  }

  /** Returns the id of the connection in a row; 0 if the row is free. */
  id(row: number): number {
    return (this.#fd[row] as number) >= -1 ? (this.#uses[row] as number) * ROWS + row : 0
  }

  /** Returns the descriptor of a parked connection; -1 if it is awake. */
  fd(row: number): number {
    return this.#fd[row] as number
  }

  /** Returns the row of the connection that is parked with this descriptor. */
  row(fd: number): number {
    return this.#row[fd] as number
  }

  /** Marks a connection as parked. */
  park(row: number, fd: number): void {
    if (fd >= this.#row.length) this.#row = lengthened(this.#row, fd)
    this.#fd[row] = fd
    this.#row[fd] = row
  }

  /** Marks a connection as awake. @returns how often it was woken, this time included */
  wake(row: number): number {
    this.#fd[row] = -1
    const wakes = (this.#wakes[row] as number) + 1
    this.#wakes[row] = wakes
    return wakes
  }

  /** Returns how often a connection was woken. */
  wakes(row: number): number {
    return this.#wakes[row] as number
  }

  /** Returns the flags of a connection. */
  flags(row: number): number {
    return this.#flags[row] as number
  }

  /** Sets flags of a connection, after those in `cleared` are cleared. */
  setFlags(row: number, flags: number, cleared = 0): void {
    this.#flags[row] = ((this.#flags[row] as number) & ~cleared) | flags
  }

  /** Shrinks the arrays to the highest row in use, and sorts the free list so that lower rows are taken first. */
  trim(): void {
    let highest = this.end - 1
    while (highest >= 0 && this.id(highest) === 0 && !this.#reserved.has(highest)) highest--
    const size = shrunk(highest + 1)
    for (let row = size; row < this.end; row++) this.#usesBefore = Math.max(this.#usesBefore, this.#uses[row] as number)
    if (size < this.end) this.#resize(size)
    this.#free = -1
    let fds = 0
    for (let row = size - 1; row >= 0; row--) {
      if (this.id(row) === 0) {
        if (!this.#reserved.has(row)) this.#addToFreeList(row)
      } else fds = Math.max(fds, (this.#fd[row] as number) + 1)
    }
    this.#row = shortened(this.#row, fds)
  }

  #growTo(rows: number): void {
    const from = this.end
    this.#resize(grown(from, rows))
    for (let row = this.end - 1; row >= from; row--) {
      this.#uses[row] = this.#usesBefore
      this.#addToFreeList(row)
    }
  }

  #addToFreeList(row: number): void {
    // A row that has used up its ids is never taken again.
    const usedUp = (this.#uses[row] as number) >= MOST_USES
    this.#fd[row] = usedUp ? FREE : linkTo(this.#free)
    if (!usedUp) this.#free = row
  }

  #resize(size: number): void {
    this.#uses = resized(this.#uses, new Int32Array(size))
    this.#fd = resized(this.#fd, new Int32Array(size))
    this.#wakes = resized(this.#wakes, new Uint32Array(size))
    this.#flags = resized(this.#flags, new Uint16Array(size))
  }
}

/** Returns the number by which a free row refers to the next free row; `row` is -1 at the end of the free list. */
function linkTo(row: number): number {
  return FREE - 1 - row
}

/** Returns the row that {@link linkTo} has made `link` of. */
function nextFree(link: number): number {
  return FREE - 1 - link
}
