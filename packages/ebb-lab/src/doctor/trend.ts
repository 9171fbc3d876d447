/** Watches the memory of a process for some seconds. */
import { setTimeout as wait } from 'node:timers/promises'
import { ProcessError, type ProcessView } from 'ebb/memory'
import { anonymousOf } from './anonymous.js'

/** How the anonymous memory of a process changed over some seconds. */
export interface Trend {
  /** Milliseconds that the process was watched. */
  over: number
  /** Anonymous memory, with what is in swap: at the beginning, at the end, the lowest and the highest, bytes. */
  from: number
  to: number
  lowest: number
  highest: number
  /** Slope of the line that fits the samples best, bytes per minute. */
  perMinute: number
  /** CPU time that the process used while it was watched, ms. */
  cpu: number
}

/** Interval between two samples, ms. */
const EVERY = 250

/**
 * Watches a process. Ends early if `signal` is aborted or the process ends.
 *
 * @returns null for less than two samples
 */
export async function watch(view: ProcessView, over: number, signal?: AbortSignal): Promise<Trend | null> {
  const begin = performance.now()
  const samples: [at: number, bytes: number][] = []
  let cpuAtBegin = 0
  let cpu = 0
  try {
    cpuAtBegin = view.cpu()
    for (;;) {
      const at = performance.now() - begin
      samples.push([at, anonymousOf(view)])
      cpu = view.cpu()
      if (at >= over) break
      await wait(Math.min(EVERY, over - at), undefined, signal && { signal })
    }
  } catch (error) {
    if (signal?.aborted !== true && !(error instanceof ProcessError && error.gone)) throw error
  }
  const [first, last] = [samples[0], samples.at(-1)]
  if (first === undefined || last === undefined || first === last) return null
  const bytes = samples.map(([, bytes]) => bytes)
  return {
    over: Math.round(last[0]),
    from: first[1],
    to: last[1],
    lowest: Math.min(...bytes),
    highest: Math.max(...bytes),
    perMinute: Math.round(slope(samples) * 60_000),
    cpu: cpu - cpuAtBegin
  }
}

/** Returns the slope of the regression line. */
function slope(samples: readonly [number, number][]): number {
  const mean = (of: (sample: readonly [number, number]) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length
  const [x, y] = [mean(([at]) => at), mean(([, bytes]) => bytes)]
  const covariance = mean(([at, bytes]) => (at - x) * (bytes - y))
  const variance = mean(([at]) => (at - x) ** 2)
  return variance === 0 ? 0 : covariance / variance
}
