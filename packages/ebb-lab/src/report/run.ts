import type { Recording } from '../record/recording.js'
import type { Verdict } from './verdict.js'

/** One server of a report: its recording, the control that belongs to it, and what follows from them. */
export interface Run {
  recording: Recording
  control: Recording | null
  verdict: Verdict
}
