/** Whoever asks at the inside socket: who may, how much, and for how long. */
import { E } from '../sys/constants.js'
import { acceptAtName } from '../sys/local-socket.js'
import { outside } from '../sys/node/callback-scope.js'
import { peerOf } from '../sys/peer.js'
import { closeDescriptor } from '../sys/socket.js'
import { timers } from '../sys/timers.js'
import { addressOf, receiveAndDrop, receiveAt, sendBytes } from '../sys/transfer.js'
import { type Answer, answer, refusal } from './answer.js'
import { LONGEST_QUESTION } from './name.js'

/** Askers at a time. The others wait in the kernel. */
const MOST_ASKERS = 8
/** Others than may ask that are cut off at a time: they could keep the event loop busy with nothing else. */
const MOST_STRANGERS = 8
/** Milliseconds until the next look whether there is a place for somebody who waits. */
const FULL = 50
/** An asker whose question is not complete after so many ms gets an error for an answer. */
const LONGEST_ASKING = 1000
/** An asker that has not read its answer after so many ms is cut off. */
const LONGEST_READING = 5000
/** Milliseconds between two looks at an asker. There is an answer at the first look as a rule. */
const LOOK_INTERVAL = 10
/** Milliseconds until the next try to accept, if this process has no descriptor left. */
const RETRY = 1000

const askers = new Set<Asker>()

/** Accepts everybody who waits. @returns ms after which the socket must be watched again */
export function serve(listening: number): number {
  let strangers = 0
  for (;;) {
    if (askers.size === MOST_ASKERS || strangers === MOST_STRANGERS) return FULL
    const fd = acceptAtName(listening)
    if (fd < 0) {
      if (fd === -E.EAGAIN) return 0
      if (fd === -E.ECONNABORTED || fd === -E.EINTR) continue
      // The kernel would report at once that somebody waits, again and again.
      return RETRY
    }
    if (mayAsk(fd)) askers.add(new Asker(fd))
    else {
      closeDescriptor(fd)
      strangers++
    }
  }
}

function mayAsk(fd: number): boolean {
  try {
    const { uid } = peerOf(fd)
    return uid === 0 || uid === process.geteuid?.()
  } catch {
    return false
  }
}

function lineOf(what: Answer): Buffer {
  return Buffer.from(`${JSON.stringify(what)}\n`)
}

/** Somebody who has connected: reads the question, answers it and closes the connection. */
class Asker {
  readonly #fd: number
  readonly #question = Buffer.alloc(LONGEST_QUESTION)
  readonly #timer: NodeJS.Timeout
  #length = 0
  #deadline = performance.now() + LONGEST_ASKING
  #isAnswering = false
  /** What is still to be sent; undefined until the answer is known. */
  #unsent: Buffer | undefined

  /** @param fd which the asker owns */
  constructor(fd: number) {
    this.#fd = fd
    this.#timer = outside(() => timers.setInterval(this.#look, LOOK_INTERVAL))
    this.#timer.unref()
    outside(() => timers.setImmediate(this.#look))
  }

  readonly #look = (): void => {
    if (!askers.has(this)) return
    try {
      if (this.#unsent !== undefined) this.#send(this.#unsent)
      else if (!this.#isAnswering) this.#read()
    } catch {
      // No memory for a buffer.
      this.#close()
    }
  }

  #read(): void {
    const into = this.#question.subarray(this.#length)
    const received = receiveAt(this.#fd, addressOf(into), into.length)
    if (received > 0) this.#length += received
    const end = this.#question.indexOf('\n')
    if (end !== -1 && end < this.#length) this.#answer(end)
    else if (received === 0 && this.#length > 0) this.#answer(this.#length)
    else if (this.#length === LONGEST_QUESTION) {
      this.#refuse(`a question is a line of at most ${LONGEST_QUESTION} bytes`)
    } else if (received === 0 || (received < 0 && received !== -E.EAGAIN)) this.#close()
    else if (performance.now() >= this.#deadline) {
      this.#refuse(`the question must be complete, with its end of line, within ${LONGEST_ASKING} ms`)
    }
  }

  #answer(length: number): void {
    this.#isAnswering = true
    answer(this.#question.toString('utf8', 0, length))
      .catch((error: Error) => refusal(`there is no answer: ${error.message}`))
      .then((what) => this.#begin(lineOf(what)))
      .catch(() => this.#close())
  }

  #refuse(why: string): void {
    this.#begin(lineOf(refusal(why)))
  }

  #begin(line: Buffer): void {
    this.#deadline = performance.now() + LONGEST_READING
    this.#send(line)
  }

  #send(bytes: Buffer): void {
    const sent = sendBytes(this.#fd, bytes)
    this.#unsent = bytes.subarray(Math.max(sent, 0))
    if (sent < 0 || this.#unsent.length === 0 || performance.now() >= this.#deadline) this.#close()
  }

  #close(): void {
    timers.clearInterval(this.#timer)
    askers.delete(this)
    // Bytes that nobody reads would reset the connection.
    receiveAndDrop(this.#fd)
    closeDescriptor(this.#fd)
  }
}
