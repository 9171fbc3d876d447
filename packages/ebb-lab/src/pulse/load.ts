/** `load()` makes the connections of a shape at a server and counts the results. */
import { checkObject } from 'ebb/sys'
import { warnOfShortTimes } from '../units/short-times.js'
import { checkPulseOptions } from './check-options.js'
import { drive, type LevelStep } from './drive.js'
import { crowdFor, either, PULSE_NAMES, type PulseOptions, type PulseReport, type Server, targetOf } from './pulse.js'
import { maxConnections, type Shape } from './shapes.js'
import type { Target } from './target.js'

/** How `load()` connects. */
export interface LoadOptions extends PulseOptions {
  /** Called when the crowd has reached a level of the shape. A shape of pulses has `onEvent` instead. */
  onLevel?: (step: LevelStep) => void
}

/**
 * Makes the connections of a shape at a server, and returns the results when the shape or `signal` has ended.
 *
 * @throws as `pulse()`
 */
export async function load(server: Server, shape: Shape, options: LoadOptions = {}): Promise<PulseReport> {
  checkObject(shape, 'shape of load()')
  checkPulseOptions(options, [...PULSE_NAMES, 'onLevel'], 'load()')
  warnOfShortTimes({ timeout: options.timeout })
  return await sendLoad(targetOf(server), shape, options)
}

/** Does what {@link load} does, for callers whose times have units: it warns of no short time. */
export async function sendLoad(target: Target, shape: Shape, options: LoadOptions): Promise<PulseReport> {
  const { swarm, rate, churn, onEvent, onLevel } = options
  const signal = either(options.signal, swarm?.stopped)
  const crowd = await crowdFor(target, maxConnections(shape), options)
  const start = performance.now()
  const report = await drive(crowd, shape, {
    start,
    until: Number.POSITIVE_INFINITY,
    ...(rate !== undefined && { rate }),
    ...(churn !== undefined && { churn }),
    ...(signal !== undefined && { signal }),
    onEvent: (event) => (event.event === 'level' ? onLevel?.(event) : onEvent?.(event))
  })
  if (swarm?.pulsing.length === 0 || (signal?.aborted && !options.signal?.aborted)) report.stopped = 'agents lost'
  if (swarm !== undefined) report.swarm = swarm.report()
  return report
}
