/**
 * Notes of a recording: what its reader has to know about it. A note has a code for programs, the numbers that belong
 * to the code, and a sentence for people. No program takes a decision from the sentence.
 */
import { integer, megabytes } from '../units/format.js'
import type { RecordingEvent } from './recording.js'

/** A note before it has a time. */
export type NoteMark = Omit<Extract<RecordingEvent, { event: 'note' }>, 'type' | 't'>

/** Lines of the server were left out. Carries `lines`, how many. */
export const LINES_LEFT_OUT = 'lines-left-out'
/** The server did not send back what it was expected to. Carries `answers`, how many did not arrive. */
export const ANSWERS_MISSING = 'answers-missing'
/** Other processes listen on the server's port, and no figure includes their memory. */
export const ONE_OF_SEVERAL = 'one-of-several'

/** `governed` is set for a server that does not run on Node, so no governor watches it. */
export function governedIgnored(): NoteMark {
  const text = 'governed has no effect, because the server does not run on Node'
  return { event: 'note', code: 'governed-ignored', text }
}

/**
 * @param agent name of the agent that recorded the server on another machine
 * @param why why the agent was lost; null if it is not known
 */
export function agentLost(agent: string, why: string | null): NoteMark {
  const text = `the agent ${agent} was lost, and nothing is recorded from here on: ${why}`
  return { event: 'note', code: 'agent-lost', text }
}

/** An agent sent a line that is neither a sample nor an event that this version knows. */
export function lineInvalid(): NoteMark {
  const text = 'a line of the recording was not understood and is left out'
  return { event: 'note', code: 'line-invalid', text }
}

/** @param most lines per second that are kept */
export function linesLeftOut(lines: number, most: number): NoteMark {
  const text = `${lines} lines of the server left out: it prints more than ${integer(most)} lines per second`
  return { event: 'note', code: LINES_LEFT_OUT, lines, text }
}

/** @param answers how many expected answers did not arrive */
export function answersMissing(answers: number): NoteMark {
  return { event: 'note', code: ANSWERS_MISSING, answers, text: `${answers} expected answers did not arrive` }
}

/** @param reason which processes listen, and what to do */
export function oneOfSeveral(reason: string): NoteMark {
  return { event: 'note', code: ONE_OF_SEVERAL, text: `The figures cover one process only: ${reason}` }
}

/** The output of the server was read more slowly than it was printed. */
export function outputThrottled(): NoteMark {
  const text = 'the server prints more than 16 MiB per second: its output is read no faster'
  return { event: 'note', code: 'output-throttled', text }
}

/**
 * @param missed how many samples in a row were not taken; reported once per recording, and once per run of a box
 * @param t when, ms since the recording or the run began
 * @param run name of the run of a box
 */
export function recorderBehind(missed: number, t: number, run?: string): NoteMark {
  const where = `${run === undefined ? '' : `in ${run}, `}at ${(t / 1000).toFixed(1)} s`
  const samples = missed === 1 ? '1 sample is' : `${missed} samples are`
  const text = `the recorder fell behind ${where}: ${samples} missing, and perhaps more after that`
  return { event: 'note', code: 'recorder-behind', missed, text }
}

/** @param ms CPU time of one read of `smaps_rollup` */
export function smapsSlow(ms: number): NoteMark {
  const text = `reading smaps_rollup takes ${ms.toFixed(0)} ms: private and proportional memory are read less often`
  return { event: 'note', code: 'smaps-slow', text }
}

/** @param bytes how much of the server's memory is in swap; reported once per recording */
export function swapUsed(bytes: number): NoteMark {
  const text = `part of the server's memory is in swap (${megabytes(bytes)}), which counts as anonymous memory`
  return { event: 'note', code: 'swap-used', text }
}

/** @param pid the process whose `smaps_rollup` may not be read */
export function smapsUnreadable(pid: number): NoteMark {
  const text = `private and proportional memory are missing: smaps_rollup of process ${pid} may not be read`
  return { event: 'note', code: 'smaps-unreadable', text }
}

/** @param reason why socket memory cannot be read */
export function kernelUnreadable(reason: string): NoteMark {
  return { event: 'note', code: 'kernel-unreadable', text: `kernel memory is missing: ${reason}` }
}

/** @param reason why an address of Go's expvar cannot be polled */
export function expvarFailed(reason: string): NoteMark {
  return { event: 'note', code: 'expvar-failed', text: reason }
}

/** @param url the address that answers again */
export function expvarRecovered(url: string): NoteMark {
  return { event: 'note', code: 'expvar-recovered', text: `${url} answers again` }
}
