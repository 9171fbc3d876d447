/** Loads in words, and as events of a recording. */
import { total } from '../../pulse/causes.js'
import type { DriveEvent } from '../../pulse/drive.js'
import type { Shape } from '../../pulse/shapes.js'
import type { BoxRecorder } from '../../record/box/recorder.js'
import { integer, short } from '../../units/format.js'

/** Describes a load: `pulses of 10,000, then 1,000 x 2, from 45 s on`. */
export function describeLoad(shape: Shape): string {
  const from = shape.offset === 0 ? '' : `, from ${shape.offset / 1000} s on`
  switch (shape.shape) {
    case 'pulse': {
      const big = shape.iterations > 0 ? pulses(shape.big, shape.iterations) : ''
      const small = shape.pulses > 0 ? pulses(shape.small, shape.pulses) : ''
      return `pulses of ${[big, small].filter((part) => part !== '').join(', then ')}${from}`
    }
    case 'steady':
      return `${integer(shape.connections)} connections${lasting(shape.duration)}${from}`
    case 'sawtooth': {
      const range = `from ${short(shape.low)} to ${short(shape.high)}`
      return `a sawtooth ${range} every ${shape.period / 1000} s${lasting(shape.duration)}${from}`
    }
    case 'ramp': {
      const stages = shape.stages.map(({ connections, over }) => `${integer(connections)} in ${over / 1000} s`)
      return `a ramp to ${stages.join(', then ')}, held for ${shape.linger / 1000} s${from}`
    }
    case 'poisson': {
      const held = `held for ${shape.hold / 1000} s on average`
      return `${shape.rate} connects a second at random, ${held}${lasting(shape.duration)}${from}`
    }
    case 'trace':
      return `the trace ${shape.file}${from}`
  }
}

function pulses(connections: number, times: number): string {
  if (connections === 0) return ''
  if (times === Number.POSITIVE_INFINITY) return `${integer(connections)} again and again`
  return times === 1 ? integer(connections) : `${integer(connections)} x ${times}`
}

function lasting(ms: number): string {
  return ms === Number.POSITIVE_INFINITY ? '' : ` for ${ms / 1000} s`
}

/** Returns the event of a recording for a pulse whose connections are closed. */
export function closedMark({ pulse, lost, replaced }: Extract<DriveEvent, { event: 'closed' }>) {
  return {
    event: 'closed' as const,
    index: pulse.index,
    lost: total(lost),
    ...(replaced > 0 && { replaced })
  }
}

/** Writes an event of a load into the recording of a server. */
export function recordLoad(recorder: BoxRecorder, id: number, event: DriveEvent): void {
  switch (event.event) {
    case 'level': {
      const { connections, open, opened, lost } = event
      const [connected, failed] = [opened?.connected ?? 0, total(opened?.failed ?? {})]
      recorder.mark(id, { event: 'level', connections, open, connected, failed, lost: total(lost) })
      break
    }
    case 'pulse': {
      const { index, size, n } = event.pulse
      recorder.mark(id, { event: 'pulse', index, size, n })
      break
    }
    case 'connected': {
      const { connected, failed } = event.opened
      recorder.mark(id, { event: 'connected', index: event.pulse.index, connected, failed: total(failed) })
      break
    }
    case 'closing':
      recorder.mark(id, { event: 'closing', index: event.pulse.index })
      break
    case 'closed':
      recorder.mark(id, closedMark(event))
  }
}
