import type { Recording } from '../record/recording.js'
import type { Verdict } from './verdict.js'

/** One server of a report: its recording, its control, and the verdict on them. */
export interface Run {
  /** Of several runs, the one whose memory kept is the median: pictures show it. */
  recording: Recording
  control: Recording | null
  /** Of several runs, the verdict on all of them. */
  verdict: Verdict
  /** Number of the run that is shown, counted from 1. Undefined if there is only one. */
  shown?: number
}
