/** Properties of sockets that survive sleep. */
import type { Socket } from 'node:net'
import { warn } from '../../sys/errors.js'
import { foreignProperties } from '../node/own-properties.js'

type Properties = Record<string | symbol, unknown>

/** Sockets that are looked at for properties that get lost. Each costs about 2 µs. */
const MOST_LOOKS = 10_000
let looks = 0

/** Keeps the properties with certain names while a connection is parked, by row. */
export class CarriedProperties {
  readonly #names: readonly (string | symbol)[]
  readonly #kept = new Map<number, unknown[]>()

  constructor(names: readonly (string | symbol)[]) {
    this.#names = names
  }

  /** Keeps the properties of a socket that is about to be destroyed. Warns once if it has others, which get lost. */
  keep(row: number, socket: Socket): void {
    if (this.#names.some((name) => Object.hasOwn(socket, name))) {
      this.#kept.set(
        row,
        this.#names.map((name) => (Object.hasOwn(socket, name) ? (socket as unknown as Properties)[name] : NONE))
      )
    }
    if (looks < MOST_LOOKS) this.#warnOfLost(socket)
  }

  /** Gives the properties that were kept to the next socket of the connection. */
  restore(row: number, socket: Socket): void {
    const values = this.#kept.get(row)
    if (values === undefined) return
    this.#kept.delete(row)
    for (const [i, name] of this.#names.entries()) {
      if (values[i] !== NONE) (socket as unknown as Properties)[name] = values[i]
    }
  }

  /** Forgets the properties of a connection that is closed. */
  delete(row: number): void {
    this.#kept.delete(row)
  }

  #warnOfLost(socket: Socket): void {
    looks++
    const lost = foreignProperties(socket).filter((name) => !this.#names.includes(name))
    if (lost.length === 0) return
    looks = MOST_LOOKS
    const names = lost.map((name) => (typeof name === 'symbol' ? String(name) : JSON.stringify(name))).join(', ')
    warn(
      'EBB_STATE_LOST',
      `a connection was parked whose socket has properties of the program (${names}): its next socket does not have them; name them in the option carry of park(), or keep such data in connection.attachment`
    )
  }
}

/** Stands for a property that the socket did not have. */
const NONE = Symbol('none')
