/**
 * Notes of old recordings. Until notes had codes, programs recognized them by their sentences. The reader gives these
 * notes their codes and numbers here; no other file looks at a sentence.
 */
import { ANSWERS_MISSING, LINES_LEFT_OUT, ONE_OF_SEVERAL } from './notes.js'

interface Note {
  event: 'note'
  text: string
  code?: string | undefined
  lines?: number | undefined
  answers?: number | undefined
}

/** Sentences as they were written, never to be reworded. */
const LINES = /^(\d+) lines of the server left out/
const ANSWERS = /^(\d+) answers that were waited for/
const ONE = 'Its figures are those of one process alone: '

/**
 * Gives a note without a code the code of its sentence. Returns every other event, and unknown sentences, as they are.
 */
export function withNoteCode<E extends { event: string }>(event: E | (E & Note)): E {
  if (!isNoteWithoutCode(event)) return event
  const lines = LINES.exec(event.text)
  if (lines !== null) return { ...event, code: LINES_LEFT_OUT, lines: Number(lines[1]) }
  const answers = ANSWERS.exec(event.text)
  if (answers !== null) return { ...event, code: ANSWERS_MISSING, answers: Number(answers[1]) }
  return event.text.startsWith(ONE) ? { ...event, code: ONE_OF_SEVERAL } : event
}

function isNoteWithoutCode<E extends { event: string }>(event: E | (E & Note)): event is E & Note {
  return event.event === 'note' && 'text' in event && event.code === undefined
}
