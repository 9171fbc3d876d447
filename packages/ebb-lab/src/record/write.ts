import fs from 'node:fs'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import type { Header, Line, Recording } from './recording.js'
import type { Sink } from './session.js'

/**
 * A recording file. Every line is handed to the kernel before {@link write} returns: a process that is killed at any
 * moment loses at most the line that it was writing.
 */
export class RecordingWriter implements Sink<object> {
  readonly path: string
  /** Lines written whole. */
  lines = 0
  #fd: number | null

  /** Creates the file, or empties it. A pipe that nobody reads is refused. Throws {@link RecordError}. */
  constructor(path: string) {
    this.path = path
    try {
      this.#fd = open(path)
    } catch (error) {
      throw new RecordError(`cannot write the recording to ${path}: ${reasonOf(error)}`, codeOf(error), 'open', error)
    }
  }

  /** Throws {@link RecordError} when the line did not get into the file whole, and from then on. */
  write(line: object): void {
    if (this.#fd === null) {
      throw new RecordError(`the recording ${this.path} is closed, nothing more can be written to it`, 'EBADF', 'write')
    }
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`)
    try {
      for (let done = 0; done < bytes.length; ) done += fs.writeSync(this.#fd, bytes, done)
    } catch (error) {
      const { path, lines } = this
      // Another line after half a line would make the file unreadable there.
      this.#discard()
      const rest = lines === 0 ? '' : ` after ${lines} lines; what was written can be read`
      throw new RecordError(`writing ${path} failed: ${reasonOf(error)}${rest}`, codeOf(error), 'write', error)
    }
    this.lines++
  }

  /** Closing twice is allowed. Throws {@link RecordError} when the file system says only now that it lost something. */
  close(): void {
    if (this.#fd === null) return
    const fd = this.#fd
    this.#fd = null
    try {
      fs.closeSync(fd)
    } catch (error) {
      throw new RecordError(`closing ${this.path} failed: ${reasonOf(error)}`, codeOf(error), 'close', error)
    }
  }

  #discard(): void {
    try {
      this.close()
    } catch {
      // The write has failed already, and its reason is the one to tell.
    }
  }
}

/** Keeps a recording in memory. */
export class MemorySink implements Sink<Line> {
  readonly recording: Recording

  constructor(header: Header) {
    this.recording = { header, samples: [], events: [], complete: false, notes: [] }
  }

  write(line: Line): void {
    if (line.type === 'sample') this.recording.samples.push(line)
    else if (line.type === 'event') {
      this.recording.events.push(line)
      if (line.event === 'end') this.recording.complete = true
    }
  }

  close(): void {}
}

/** Writes a whole recording. Throws {@link RecordError}. */
export function writeRecording(path: string, recording: Recording): void {
  const writer = new RecordingWriter(path)
  try {
    for (const line of toLines(recording)) writer.write(line)
  } finally {
    writer.close()
  }
}

/** The lines of a recording in the order of their times; of a sample and an event at the same time the sample is first. */
export function* toLines(recording: Recording): Generator<Line> {
  yield recording.header
  const { samples, events } = recording
  let next = 0
  for (const event of events) {
    for (let sample = samples[next]; sample !== undefined && sample.t <= event.t; sample = samples[++next]) yield sample
    yield event
  }
  yield* samples.slice(next)
}

function open(path: string): number {
  const stat = fs.statSync(path, { throwIfNoEntry: false })
  if (stat?.isFIFO()) {
    // Opening a pipe to write waits for its reader. Without waiting it fails with ENXIO when there is none.
    fs.closeSync(fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK))
  }
  return fs.openSync(path, 'w')
}
