/** A shape in place of the big pulses of an experiment: its peaks are recorded as the pulses. */
import { invalidArgument } from 'ebb/sys'
import { addCauses, type Causes } from '../pulse/causes.js'
import type { LevelStep } from '../pulse/drive.js'
import { type LoadOptions, sendLoad } from '../pulse/load.js'
import { addOpened, emptyOpened } from '../pulse/opened.js'
import { pause } from '../pulse/pause.js'
import type { Plan, Pulse } from '../pulse/plan.js'
import { type PulseEvent, type PulseReport, sendPulses } from '../pulse/pulse.js'
import { endOf, type LevelShape, levelsOf, type Shape } from '../pulse/shapes.js'
import type { Target } from '../pulse/target.js'
import { emptyTraffic } from '../pulse/traffic.js'

/** The peaks of a shape: the times at which it has the most connections. */
export interface Peaks {
  /** Number of connections at each peak. */
  connections: number
  /** Number of peaks. */
  count: number
}

/**
 * Returns the peaks of a shape.
 *
 * @throws TypeError for a shape that has no end, no connection, or is one of pulses
 */
export function peaksOf(shape: Shape): Peaks {
  if (shape.shape === 'pulse') throw invalidArgument('a shape of pulses is a plan: give plan in place of shape')
  if (endOf(shape) === Number.POSITIVE_INFINITY) {
    throw invalidArgument('a shape without end has no verdict: give it a duration')
  }
  let peaks: Peaks = { connections: 0, count: 0 }
  let before = 0
  for (const { connections } of levelsOf(shape, Number.POSITIVE_INFINITY)) {
    if (connections > peaks.connections) peaks = { connections, count: 1 }
    else if (connections === peaks.connections && before < connections) peaks.count++
    before = connections
  }
  if (peaks.connections === 0) throw invalidArgument('the shape has no connection')
  return peaks
}

/** Makes the connections of a shape, and then the small pulses of a plan. */
export async function sendShape(server: Target, shape: LevelShape, plan: Plan, how: LoadOptions): Promise<PulseReport> {
  const spike = await sendSpike(server, shape, how)
  if (spike.stopped !== null || plan.small === 0 || plan.pulses === 0) return spike
  await pause(plan.bigSeparation, how.signal)
  const onEvent = (event: PulseEvent): void =>
    how.onEvent?.({ ...event, pulse: { ...event.pulse, index: event.pulse.index + spike.pulses } } as PulseEvent)
  const small = await sendPulses(server, { ...plan, big: 0 }, { ...how, onEvent })
  return withFailures(small, spike)
}

/** Returns the report of the last part of a run, with the failures of an earlier part. */
function withFailures(last: PulseReport, earlier: PulseReport): PulseReport {
  const [failed, lost, unanswered] = [{ ...last.failed }, { ...last.lost }, { ...last.unanswered }]
  addCauses(failed, earlier.failed)
  addCauses(lost, earlier.lost)
  addCauses(unanswered, earlier.unanswered)
  return { ...last, failed, lost, unanswered }
}

/** Makes the connections of a shape, and reports its peaks as big pulses. */
async function sendSpike(target: Target, shape: LevelShape, options: LoadOptions): Promise<PulseReport> {
  const marker = new PeakMarker(peaksOf(shape), options.onEvent ?? (() => {}))
  const report = await sendLoad(target, shape, {
    ...options,
    onLevel: (step) => {
      marker.step(step)
      options.onLevel?.(step)
    }
  })
  marker.end(report.replaced)
  return { ...report, pulses: marker.pulses }
}

/** Turns the levels of a shape into the events of pulses. */
class PeakMarker {
  readonly #peaks: Peaks
  readonly #onEvent: (event: PulseEvent) => void
  /** Whether the shape rises to a peak, holds it, or has left it. */
  #state: 'rising' | 'holding' | 'left' = 'rising'
  #pulse: Pulse
  #opened = emptyOpened()
  #lost: Causes = {}
  #before = 0

  constructor(peaks: Peaks, onEvent: (event: PulseEvent) => void) {
    this.#peaks = peaks
    this.#onEvent = onEvent
    this.#pulse = this.#begin(0)
  }

  /** Number of pulses that were begun. */
  get pulses(): number {
    return this.#pulse.index + 1
  }

  step({ connections, open, opened, lost }: LevelStep): void {
    const { connections: most, count } = this.#peaks
    addCauses(this.#lost, lost)
    if (this.#state === 'left' && connections > this.#before && this.pulses < count) {
      this.#close(0)
      this.#pulse = this.#begin(this.pulses)
    }
    if (opened !== null) {
      const { ms } = this.#opened
      addOpened(this.#opened, opened)
      this.#opened.ms = ms + opened.ms
    }
    if (this.#state === 'rising' && connections === most) this.#hold(open)
    else if (this.#state === 'holding' && connections < most) this.#leave()
    this.#before = connections
  }

  /** The shape has ended. Connections that were replaced count for its last peak. */
  end(replaced: number): void {
    if (this.#state === 'rising') this.#hold(this.#opened.connected)
    if (this.#state === 'holding') this.#leave()
    this.#close(replaced)
  }

  #begin(index: number): Pulse {
    const pulse: Pulse = { index, size: 'big', n: this.#peaks.connections, linger: 0, after: 0 }
    this.#state = 'rising'
    this.#opened = emptyOpened()
    this.#lost = {}
    this.#onEvent({ event: 'pulse', pulse })
    return pulse
  }

  #hold(open: number): void {
    this.#state = 'holding'
    this.#onEvent({ event: 'connected', pulse: this.#pulse, opened: { ...this.#opened, connected: open } })
  }

  #leave(): void {
    this.#state = 'left'
    this.#onEvent({ event: 'closing', pulse: this.#pulse })
  }

  #close(replaced: number): void {
    this.#onEvent({ event: 'closed', pulse: this.#pulse, lost: this.#lost, traffic: emptyTraffic(), replaced })
  }
}
