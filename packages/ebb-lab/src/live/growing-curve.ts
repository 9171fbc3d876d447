/** A curve that grows while a page shows it, in bounded memory: what is old is thinned out. */
import { MOST_POINTS } from '../report/charts/parts.js'
import { thin } from '../report/charts/thin.js'
import type { Point } from './panel.js'

/** Points that are kept. A page with the curves of many servers has fewer of each than one of a single server. */
const MOST = MOST_POINTS / 2

/** Keeps the points of a curve. Between two thinnings, points are only added, so a page needs only those. */
export class GrowingCurve {
  #points: Point[] = []
  /** The highest value so far. */
  peak = 0

  /** The points that are kept, as a new array of the same points. */
  get points(): Point[] {
    return this.#points.slice()
  }

  /** Adds a point, unless its value is not known. */
  add(seconds: number, value: number | null): void {
    if (value === null) return
    this.peak = Math.max(this.peak, value)
    this.#points.push([seconds, value])
    if (this.#points.length < MOST) return
    this.#points = thin(this.#points, MOST / 2, [([, value]) => value], ([at]) => at)
  }
}
