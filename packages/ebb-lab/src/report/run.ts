import type { Recording } from '../record/recording.js'
import type { Verdict } from './verdict.js'

/** One server of a report: its recording, its control, and the verdict on them. */
export interface Run {
  recording: Recording
  control: Recording | null
  verdict: Verdict
}
