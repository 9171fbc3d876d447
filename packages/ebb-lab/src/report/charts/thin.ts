/** Fewer points for the same curve. */

/**
 * Thins `points` to at most `max`, keeping the first and the last and, in every stretch of equal length, the lowest
 * and the highest of each of `figures`: no spike is lost. The points that stay are shared by all figures, so that
 * their curves have a value at the same places. A figure that is null at a point is passed over there.
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
