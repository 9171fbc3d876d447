/** `drive()`: a crowd that follows a shape, at its times. */
import { addCauses, type Causes, type Opened, total } from './client.js'
import type { OwnCrowd } from './crowd.js'
import { pause } from './pause.js'
import { emptyReport, type PulseEvent, type PulseReport, pulseOnce } from './pulse.js'
import { type LevelShape, levelsOf, type PulseShape, type Shape, timedPulses } from './shapes.js'

/** From one look at what the server has closed to the next, ms, while a level stays the same. */
const AGAIN = 1000

/** A level has been reached, as far as it could be. */
interface LevelStep {
  event: 'level'
  /** Asked for, and there. */
  connections: number
  open: number
  /** Null: none had to be made. */
  opened: Opened | null
  /** Closed by the server first since the last step. */
  lost: Causes
}

export type DriveEvent = PulseEvent | LevelStep

export interface DriveOptions {
  /** When the run began: of `performance.now()`. */
  start: number
  /** When it ends, ms after its start. */
  until: number
  /** Ends it: all connections are closed. */
  signal?: AbortSignal
  onEvent?: (event: DriveEvent) => void
}

/**
 * Makes the connections of a shape. Ends by itself when nobody answers any more. All connections are closed afterwards, and the
 * crowd's processes ended.
 */
export async function drive(crowd: OwnCrowd, shape: Shape, options: DriveOptions): Promise<PulseReport> {
  const report = emptyReport()
  try {
    if (shape.shape === 'pulse') await pulses(crowd, shape, report, options)
    else await levels(crowd, shape, report, options)
  } finally {
    await crowd.close()
    await crowd.dispose()
  }
  if (options.signal?.aborted) report.stopped = 'signal'
  report.latency = crowd.latency.quantiles()
  return report
}

async function pulses(crowd: OwnCrowd, shape: PulseShape, report: PulseReport, options: DriveOptions): Promise<void> {
  const { start, until, signal, onEvent = () => {} } = options
  for (const pulse of timedPulses(shape, until)) {
    await pause(Math.max(0, start + pulse.at - performance.now()), signal)
    if (signal?.aborted) return
    const opened = await pulseOnce(crowd, pulse, report, signal, onEvent)
    if (opened.connected === 0 && !signal?.aborted) {
      report.stopped = 'nobody answers'
      return
    }
  }
}

async function levels(crowd: OwnCrowd, shape: LevelShape, report: PulseReport, options: DriveOptions): Promise<void> {
  const { start, until, signal, onEvent = () => {} } = options
  let open = 0
  const takeLost = async (): Promise<Causes> => {
    const lost = await crowd.takeAllLost()
    open -= total(lost)
    addCauses(report.lost, lost)
    return lost
  }
  /** False: nobody answers. */
  const reach = async (connections: number, lost: Causes): Promise<boolean> => {
    let opened: Opened | null = null
    if (connections > open) {
      opened = await crowd.connect(connections - open, signal)
      open += opened.connected
      report.connected += opened.connected
      report.abandoned += opened.abandoned
      report.echoed += opened.echoed
      addCauses(report.failed, opened.failed)
      addCauses(report.unanswered, opened.unanswered)
    } else if (connections < open) {
      await crowd.shrink(open - connections)
      open = connections
    }
    onEvent({ event: 'level', connections, open, opened, lost })
    return opened?.connected !== 0 || open > 0 || signal?.aborted === true
  }
  const steps = levelsOf(shape, until)
  let next = steps.next()
  while (!next.done) {
    const level = next.value
    next = steps.next()
    // A server that is slow is not made to take what has passed: only the newest level that is due counts.
    if (!next.done && start + next.value.at <= performance.now()) continue
    await pause(Math.max(0, start + level.at - performance.now()), signal)
    if (signal?.aborted) return
    let answered = await reach(level.connections, await takeLost())
    const change = next.done ? 0 : start + next.value.at
    // What the server closes before the level changes is told, and made again: its clients would come back.
    while (answered && performance.now() + AGAIN < change) {
      await pause(AGAIN, signal)
      if (signal?.aborted) return
      const lost = await takeLost()
      if (total(lost) > 0) answered = await reach(level.connections, lost)
    }
    if (!answered) {
      report.stopped = 'nobody answers'
      return
    }
  }
}
