/** Notes of a verdict: why a figure is missing or not to be trusted. */

/** A note of a verdict. Programs go by the code; the text is for people. */
export interface VerdictNote {
  /** A `NoteCode`, or the code of a note that the recording has. */
  code: string
  /** One sentence: what happened, and which figures it concerns. */
  text: string
}

/** Codes of notes that apply to the recording of a server, and to the recording of its control. */
type TroubleCode = 'recording-cut-off' | 'server-ended' | 'connects-failed' | 'connections-lost'

/** Codes of the notes that verdicts have. */
export type NoteCode =
  | TroubleCode
  | `control-${TroubleCode}`
  // Which pulses there were.
  | 'no-pulse'
  | 'no-big-pulse'
  | 'no-small-pulse'
  | 'no-control'
  | 'control-without-small-pulse'
  | 'control-with-big-pulse'
  | 'control-of-another-size'
  // Figures that are missing, or known from too few samples.
  | 'rest-unknown'
  | 'hold-unsampled'
  | 'hold-few-samples'
  | 'kept-unsampled'
  | 'kept-few-samples'
  | 'need-unsampled'
  | 'need-few-samples'
  | 'need-zero'
  | 'footprint-negative'
  | 'footprint-unknown'
  | 'peak-unknown'
  | 'release-time-unknown'
  | 'releases-unknown'
  | 'pauses-unknown'
  | 'cpu-unknown'
  | 'connect-rate-unknown'
  // Servers of a box.
  | 'load-without-pulses'
  | 'output-incomplete'
  | 'answers-missing'
  | 'server-killed'
  | 'server-not-up'
  // Boxes.
  | 'run-stopped'
  | 'nothing-sampled'
  | 'shared-pages-unknown'
  | 'servers-ended'

/** Collects the notes of a verdict. Keeps one note of each code, the first. */
export class NoteList {
  readonly notes: VerdictNote[] = []

  add(code: NoteCode, text: string): void {
    if (!this.has(code)) this.notes.push({ code, text })
  }

  has(code: NoteCode): boolean {
    return this.notes.some((note) => note.code === code)
  }
}

/** The fields of a verdict that hold its notes. */
export interface Noted {
  /** The texts of `notes`. */
  missing: string[]
  /** Why figures are missing or not to be trusted, in the order in which people should read it. */
  notes: VerdictNote[]
}

/** Returns the fields of a verdict with these notes. */
export function withNotes(notes: VerdictNote[]): Noted {
  return { missing: notes.map(({ text }) => text), notes }
}
