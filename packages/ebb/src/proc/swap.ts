/** Whether this machine has swap, and how much of this process is in it. */
import { ProcFile } from './proc-file.js'
import { ownSwapped } from './process.js'

const NEWLINE = 0x0a

/** Reads how much memory of this process is in swap. Reads a short file as long as the machine has no swap. */
export class OwnSwap {
  /** One line of headings, and a line for each swap area. Undefined for a kernel without swap. */
  readonly #areas: ProcFile | undefined

  /** @param areas the list of swap areas, for tests */
  constructor(areas = '/proc/swaps') {
    try {
      this.#areas = new ProcFile(areas, 1024)
      // Opens its file now: later there may be no descriptor left.
      ownSwapped()
    } catch {
      this.#areas?.close()
      this.#areas = undefined
    }
  }

  /** Returns the bytes of this process that are in swap; 0 where they cannot be read. Makes no object. */
  bytes(): number {
    if (this.#areas === undefined) return 0
    try {
      this.#areas.read()
      const headings = this.#areas.buffer.indexOf(NEWLINE)
      return headings !== -1 && headings + 1 < this.#areas.length ? ownSwapped() : 0
    } catch {
      return 0
    }
  }

  /** Closes the list. Closing twice is allowed. */
  close(): void {
    this.#areas?.close()
  }
}
