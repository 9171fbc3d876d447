/** Thins out the points of curves. */

/**
 * Thins `points` to at most `max`. Keeps the first and the last point, and in each stretch of equal length the lowest
 * and the highest point of each figure, so that no spike is lost. All figures keep the same points, so their curves
 * have values at the same places. A figure may be null at a point.
 */
export function thin<T>(points: readonly T[], max: number, figures: readonly ((point: T) => number | null)[]): T[] {
  if (points.length <= max || figures.length === 0) return [...points]
  const stretches = Math.max(1, Math.floor((max - 2) / (2 * figures.length)))
  const kept = new Set<number>([0])
  for (let stretch = 0; stretch < stretches; stretch++) {
    const from = Math.floor((stretch * points.length) / stretches)
    const until = Math.floor(((stretch + 1) * points.length) / stretches)
    for (const figure of figures) {
      for (const index of extremes(points, from, until, figure)) kept.add(index)
    }
  }
  kept.add(points.length - 1)
  return [...kept].sort((a, b) => a - b).map((index) => points[index] as T)
}

function extremes<T>(points: readonly T[], from: number, until: number, figure: (point: T) => number | null): number[] {
  let low = -1
  let high = -1
  let lowest = Infinity
  let highest = -Infinity
  for (let index = from; index < until; index++) {
    const value = figure(points[index] as T)
    if (value === null) continue
    if (value < lowest) [low, lowest] = [index, value]
    if (value > highest) [high, highest] = [index, value]
  }
  return low < 0 ? [] : [low, high]
}
