/** Thins out the points of curves. */

/**
 * Thins `points` to at most `max`. Keeps the first and the last point, and in each stretch of equal length the lowest
 * and the highest point of each figure, so that no spike is lost. All figures keep the same points, so their curves
 * have values at the same places. A figure may be null at a point.
 *
 * @param timeOf makes the stretches equally long in time. Points that are thinned again and again while others are
 *   added need it: stretches of equally many points would make the oldest part ever sparser
 */
export function thin<T>(
  points: readonly T[],
  max: number,
  figures: readonly ((point: T) => number | null)[],
  timeOf?: (point: T) => number
): T[] {
  if (points.length <= max || figures.length === 0) return [...points]
  const stretches = Math.max(1, Math.floor((max - 2) / (2 * figures.length)))
  const ends = timeOf === undefined ? endsByCount(points.length, stretches) : endsByTime(points, stretches, timeOf)
  const kept = new Set<number>([0])
  for (let stretch = 0; stretch < stretches; stretch++) {
    const from = ends[stretch - 1] ?? 0
    const until = ends[stretch] as number
    for (const figure of figures) {
      for (const index of extremes(points, from, until, figure)) kept.add(index)
    }
  }
  kept.add(points.length - 1)
  return [...kept].sort((a, b) => a - b).map((index) => points[index] as T)
}

/** Returns the index after the last point of each stretch; all have equally many points. */
function endsByCount(count: number, stretches: number): number[] {
  return Array.from({ length: stretches }, (_, stretch) => Math.floor(((stretch + 1) * count) / stretches))
}

/** Returns the index after the last point of each stretch; all are equally long. */
function endsByTime<T>(points: readonly T[], stretches: number, timeOf: (point: T) => number): number[] {
  const begin = timeOf(points[0] as T)
  const length = timeOf(points.at(-1) as T) - begin
  let index = 0
  return Array.from({ length: stretches }, (_, stretch) => {
    const end = begin + (length * (stretch + 1)) / stretches
    while (index < points.length && timeOf(points[index] as T) < end) index++
    return index
  })
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
