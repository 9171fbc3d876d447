/**
 * Compares a server's memory after a peak of clients with its memory before the peak.
 *
 * The verdict's retention divides by need, which a fresh process shows. A server that runs has no fresh process beside
 * it. Its own past takes that place: the least anonymous memory with which it was seen to hold as many clients as now.
 */
import type { SincePeak } from './sample.js'

/** A peak has at least this factor times the clients of the calm before it, and this many more. */
const RISE = 2
const MIN_RISE = 100
/** A peak has at least this share of the clients of the last one: ordinary traffic after a spike is no peak. */
const OF_LAST = 0.5
/** A peak is over when its clients have fallen to this share of its maximum. */
const FALL = 0.5

/** The memory of one server by its number of clients, before and after its last peak. */
export class PeakHistory {
  /** What the server held before the last peak that is over. */
  #before = new Curve()
  /** What it has held since, or since watching began. */
  #calm = new Curve()
  /** What it held while the clients of the present peak rose. */
  #rising = new Curve()
  /** Clients of the present peak; 0 if there is none. */
  #peak = 0
  #lastPeak = 0
  #fewest = Number.POSITIVE_INFINITY

  /** Adds what the server holds now, and returns how that compares; null before the first peak and during a peak. */
  add(clients: number, anonymous: number): SincePeak | null {
    if (this.#peak > 0) {
      if (clients > this.#peak * FALL) {
        if (clients > this.#peak) this.#rising.add(clients, anonymous)
        this.#peak = Math.max(this.#peak, clients)
        return null
      }
      this.#endPeak()
    }
    this.#fewest = Math.min(this.#fewest, clients)
    if (clients >= Math.max(this.#fewest * RISE, this.#fewest + MIN_RISE, this.#lastPeak * OF_LAST)) {
      this.#peak = clients
      this.#rising = new Curve()
      this.#rising.add(clients, anonymous)
      return null
    }
    this.#calm.add(clients, anonymous)
    const before = this.#lastPeak === 0 ? null : this.#before.at(clients)
    return before === null || before === 0 ? null : { clients: this.#lastPeak, before, ratio: anonymous / before }
  }

  #endPeak(): void {
    this.#before.merge(this.#calm)
    this.#before.merge(this.#rising)
    this.#calm = new Curve()
    this.#lastPeak = this.#peak
    this.#peak = 0
    this.#fewest = Number.POSITIVE_INFINITY
  }
}

/** Numbers of clients below this have a point each. Above it, eight points share an octave. */
const EXACT = 16
const PER_OCTAVE = 8
/** A number of clients counts as seen if it is this near to one that was. */
const NEAR = 0.05
const NEAR_CLIENTS = 10

/** The least memory that was seen for each number of clients. Keeps at most about 200 points. */
class Curve {
  readonly #points = new Map<number, { clients: number; anonymous: number }>()

  add(clients: number, anonymous: number): void {
    const key = clients < EXACT ? clients : EXACT + Math.floor(Math.log2(clients / EXACT) * PER_OCTAVE)
    const point = this.#points.get(key)
    if (point === undefined || anonymous < point.anonymous) this.#points.set(key, { clients, anonymous })
  }

  merge(other: Curve): void {
    for (const { clients, anonymous } of other.#points.values()) this.add(clients, anonymous)
  }

  /** Returns the memory for a number of clients, interpolated; null if too few or too many clients were seen. */
  at(clients: number): number | null {
    const points = this.#envelope()
    const above = points.findIndex((point) => point.clients >= clients)
    const [low, high] = [points[above - 1] ?? (above === -1 ? points.at(-1) : undefined), points[above]]
    if (low !== undefined && high !== undefined) {
      const share = (clients - low.clients) / (high.clients - low.clients)
      return low.anonymous + share * (high.anonymous - low.anonymous)
    }
    const nearest = low ?? high
    if (nearest === undefined) return null
    const far = Math.abs(nearest.clients - clients) > Math.max(NEAR_CLIENTS, clients * NEAR)
    return far ? null : nearest.anonymous
  }

  /** Returns the points by clients. A server that held more clients with less memory could have held fewer as well. */
  #envelope(): { clients: number; anonymous: number }[] {
    const points = [...this.#points.values()].sort((a, b) => b.clients - a.clients)
    let least = Number.POSITIVE_INFINITY
    return points
      .map(({ clients, anonymous }) => {
        least = Math.min(least, anonymous)
        return { clients, anonymous: least }
      })
      .reverse()
  }
}
