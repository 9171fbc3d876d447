/** Answers the clients of the inside socket: who may ask, how many at a time, and for how long. */
import { E } from '../sys/constants.js'
import { acceptAtName } from '../sys/local-socket.js'
import { outside } from '../sys/node/callback-scope.js'
import { peerOf } from '../sys/peer.js'
import { closeDescriptor } from '../sys/socket.js'
import { timers } from '../sys/timers.js'
import { addressOf, receiveAndDrop, receiveAt, sendBytes } from '../sys/transfer.js'
import { type Answer, answer, refusal } from './answer.js'
import { LONGEST_QUESTION } from './name.js'

/** Clients at a time. The others wait in the backlog. */
const MOST_CLIENTS = 8
/** Connections of other users that are closed at a time, so that they cannot keep the event loop busy. */
const MOST_REFUSED = 8
/** Milliseconds until the next clients are accepted, after either maximum was reached. */
const FULL = 50
/** A client whose question is not complete after this time (ms) gets an error as its answer. */
const LONGEST_ASKING = 1000
/** A client that has not read its answer after this time (ms) is disconnected. */
const LONGEST_READING = 5000
/** Milliseconds between two looks at a client. Usually the first look finds the question. */
const LOOK_INTERVAL = 10
/** Milliseconds until the next try to accept, if this process has no descriptor left. */
const RETRY = 1000

const clients = new Set<Client>()

/** Accepts the clients that wait. @returns ms after which the socket must be watched again */
export function serve(listening: number): number {
  let refused = 0
  for (;;) {
    if (clients.size === MOST_CLIENTS || refused === MOST_REFUSED) return FULL
    const fd = acceptAtName(listening)
    if (fd < 0) {
      if (fd === -E.EAGAIN) return 0
      if (fd === -E.ECONNABORTED || fd === -E.EINTR) continue
      // Until a descriptor is free, the kernel would report the waiting client again and again.
      return RETRY
    }
    if (mayAsk(fd)) clients.add(new Client(fd))
    else {
      closeDescriptor(fd)
      refused++
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

/** A connected client: reads its question, answers it and closes the connection. */
class Client {
  readonly #fd: number
  readonly #question = Buffer.alloc(LONGEST_QUESTION)
  readonly #timer: NodeJS.Timeout
  #length = 0
  #deadline = performance.now() + LONGEST_ASKING
  #isAnswering = false
  /** What is still to be sent; undefined until the answer is known. */
  #unsent: Buffer | undefined

  /** @param fd the connection, which the client closes */
  constructor(fd: number) {
    this.#fd = fd
    this.#timer = outside(() => timers.setInterval(this.#look, LOOK_INTERVAL))
    this.#timer.unref()
    outside(() => timers.setImmediate(this.#look))
  }

  readonly #look = (): void => {
    if (!clients.has(this)) return
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
    clients.delete(this)
    // Bytes that nobody reads would reset the connection.
    receiveAndDrop(this.#fd)
    closeDescriptor(this.#fd)
  }
}
