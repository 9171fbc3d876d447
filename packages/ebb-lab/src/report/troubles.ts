/** Troubles of a recording that make every figure less certain. */
import { quoteLines } from '../process/output.js'
import type { Recording } from '../record/recording.js'
import { integer } from '../units/format.js'
import type { NoteList } from './notes.js'
import { type RecordedPulse, sumOf } from './phases.js'

/** Lines of a server that {@link lastWords} looks at. */
const MOST_LAST_LINES = 50

/** Signals with which a server is stopped on purpose. */
const STOPPED = new Set(['SIGTERM', 'SIGINT'])

/** How the notes name a recording and its server. */
const WORDS = {
  main: { prefix: '', recording: 'The recording', server: 'The server', where: '' },
  control: {
    prefix: 'control-',
    recording: "The control's recording",
    server: "The control's server",
    where: ' in the control'
  }
} as const

/** Notes that the recording was cut off, that its server ended, and that connections failed or were lost. */
export function noteTroubles(
  recording: Recording,
  pulses: readonly RecordedPulse[],
  role: 'main' | 'control',
  notes: NoteList
): void {
  const { prefix, recording: the, server, where } = WORDS[role]
  if (!recording.complete) {
    const last = Math.max(recording.samples.at(-1)?.t ?? 0, recording.events.at(-1)?.t ?? 0)
    const text = `${the} was cut off after ${(last / 1000).toFixed(1)} s, so the figures cover only that time.`
    notes.add(`${prefix}recording-cut-off`, text)
  }
  const end = endOf(recording, pulses)
  if (end !== null) notes.add(`${prefix}server-ended`, `${server} ended ${end}${lastWords(recording)}.`)
  const failed = sumOf(pulses, 'failed')
  if (failed > 0) {
    const connects = failed + sumOf(pulses, 'connected')
    notes.add(`${prefix}connects-failed`, `${integer(failed)} of ${integer(connects)} connects failed${where}.`)
  }
  const lost = sumOf(pulses, 'lost')
  if (lost > 0) notes.add(`${prefix}connections-lost`, connectionsLost(lost, server))
}

/** Returns how and when a server ended that crashed or ended during a pulse, else null. */
function endOf({ events }: Recording, pulses: readonly RecordedPulse[]): string | null {
  const end = events.findLast((event) => event.event === 'end')
  if (end?.event !== 'end' || end.reason !== 'exited') return null
  const isOpen = pulses.some((pulse) => pulse.closedAt === null)
  const crashed = (end.exitCode ?? 0) !== 0 || (end.signal !== null && !STOPPED.has(end.signal))
  if (!isOpen && !crashed) return null
  return `${howEnded(end)}after ${(end.t / 1000).toFixed(1)} s${isOpen ? ', in the middle of a pulse' : ''}`
}

/** Returns what a server printed at last, as `; it said: ...`, or an empty string. */
export function lastWords({ events }: Pick<Recording, 'events'>): string {
  const lines = events.flatMap((event) => (event.event === 'line' ? event.text : [])).slice(-MOST_LAST_LINES)
  return quoteLines(lines)
}

/** Returns `by SIGKILL `, `with exit code 1 `, or an empty string if it is not known. */
export function howEnded({ exitCode, signal }: { exitCode: number | null; signal: string | null }): string {
  if (signal !== null && signal !== '') return `by ${signal} `
  return exitCode === null ? '' : `with exit code ${exitCode} `
}

/** Returns the sentence for connections that the server closed while the client held them. */
export function connectionsLost(lost: number, server = 'The server'): string {
  return `${server} closed ${integer(lost)} connection${lost === 1 ? '' : 's'} before the client did.`
}
