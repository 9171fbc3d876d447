/** Writes recordings to files and to memory. */
import fs from 'node:fs'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import type { Header, Line, Recording } from './recording.js'
import type { Sink } from './session.js'

/**
 * Writes a recording to a file. Each line is handed to the kernel before {@link write} returns, so a process that is
 * killed loses at most the line that it was writing.
 */
export class RecordingWriter implements Sink<object> {
  readonly path: string
  /** Number of complete lines written. */
  lines = 0
  #fd: number | null

  /**
   * Creates the file, or empties it.
   *
   * @throws RecordError with the errno; `ENXIO` for a pipe that no process reads
   */
  constructor(path: string) {
    this.path = path
    try {
      this.#fd = open(path)
    } catch (error) {
      const advice = codeOf(error) === 'ENOENT' ? '; make the directory of the file first' : ''
      const text = `cannot write the recording to ${path}: ${reasonOf(error)}${advice}`
      throw new RecordError(text, codeOf(error), 'open', error)
    }
  }

  /**
   * Writes a line.
   *
   * @throws RecordError if the line was not written completely, and for every line after it
   */
  write(line: object): void {
    if (this.#fd === null) {
      throw new RecordError(`the recording ${this.path} is closed, nothing more can be written to it`, 'EBADF', 'write')
    }
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`)
    try {
      for (let done = 0; done < bytes.length; ) done += fs.writeSync(this.#fd, bytes, done)
    } catch (error) {
      const { path, lines } = this
      // A line after half a line could not be read.
      this.#discard()
      const rest = lines === 0 ? '' : ` after ${lines} lines; what was written can be read`
      throw new RecordError(`writing ${path} failed: ${reasonOf(error)}${rest}`, codeOf(error), 'write', error)
    }
    this.lines++
  }

  /**
   * Closes the file. Closing twice is allowed.
   *
   * @throws RecordError if the file system reports only now that it lost something
   */
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
      // The error of the failed write is the one to report.
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

/**
 * Writes a whole recording to a file.
 *
 * @throws RecordError with the errno
 */
export function writeRecording(path: string, recording: Recording): void {
  const writer = new RecordingWriter(path)
  try {
    for (const line of toLines(recording)) writer.write(line)
  } finally {
    writer.close()
  }
}

/** Returns the lines of a recording in the order of their times. At equal times, samples come before events. */
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
    // Opening a pipe for writing waits for a reader. With O_NONBLOCK it fails with ENXIO if there is none.
    fs.closeSync(fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK))
  }
  return fs.openSync(path, 'w')
}
