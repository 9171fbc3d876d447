/** DONE and ABORT: how both processes agree on who has the connections. */
import { type Channel, isTemporary } from '../sys/channel.js'
import { EbbError, type SystemError } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { closeDescriptor } from '../sys/socket.js'
import {
  ABORT,
  DONE,
  decode,
  decodeAbort,
  decodeNumbers,
  encodeAbort,
  encodeNumbers,
  type Message
} from './protocol.js'
import { step } from './steps.js'

/** Milliseconds between two attempts to say ABORT to a process that does not read. */
const RETRY = 10
/** How long (ms) a process is blocked at most until it knows whether its DONE came in time. */
const DOUBT = 1000

/**
 * Tells the other process that what it has sent is this process's.
 *
 * @returns false if the other process has lost patience before
 */
export function sayDone(channel: Channel, count: number): boolean {
  const deadline = performance.now() + DOUBT
  try {
    channel.send(encodeNumbers(DONE, [count]), [], deadline)
    return true
  } catch (error) {
    if (!['EPIPE', 'ECONNRESET'].includes((error as SystemError).code)) return false
  }
  // It has died, or it has lost patience: then its ABORT comes, as soon as there is room for it.
  step('new:doubt')
  try {
    for (;;) {
      const message = receive(channel, deadline)
      if (message === 'end') return true
      if (message.kind === ABORT) return false
    }
  } catch {
    // Nobody knows whether it goes on. What is served twice is worse than what is lost.
    return false
  }
}

/**
 * Waits for DONE.
 *
 * @param onOther called with messages that come before it; returns false for one that must not
 * @throws {EbbError} `ERR_EBB_HANDOVER` if the successor refuses, or has ended; {SystemError} `ETIMEDOUT`
 */
export function receiveDone(
  channel: Channel,
  count: number,
  deadline: number,
  onOther: (message: Message) => boolean = () => false
): void {
  for (;;) {
    const message = receive(channel, deadline)
    if (message === 'end') throw new EbbError('ERR_EBB_HANDOVER', 'the successor has ended before it took over')
    const { kind, payload } = message
    if (isDone(message, count)) return
    if (kind === ABORT) throw new EbbError('ERR_EBB_HANDOVER', `the successor refused: ${decodeAbort(payload).reason}`)
    if (!onOther(message)) throw new EbbError('ERR_EBB_HANDOVER', `the successor answered with message ${kind}`)
  }
}

/** Waits for a message, and closes the descriptors that came with it: an answer has none. */
function receive(channel: Channel, deadline: number): Message | 'end' {
  const received = channel.receive(deadline)
  if (received === 'end') return 'end'
  for (const fd of received.descriptors) closeDescriptor(fd)
  return decode(received.bytes)
}

/**
 * Takes back what was sent, unless the successor has said DONE by then.
 *
 * ABORT is sent before the channel refuses further messages: a successor whose DONE fails finds it in its queue, or
 * finds the end, which means that this process has died.
 *
 * @param count number of connections that COMMIT told; -1 if it was not sent, so that nothing counts as DONE
 * @returns whether DONE had come, so that the connections are the successor's
 */
export function wasDone(channel: Channel, count: number, error: Error): boolean {
  step('old:impatient')
  const abort = encodeAbort(error.message)
  const isTold = channel.trySend(abort) === 0
  channel.refuseMore()
  step('old:aborted')
  if (hasDone(channel, count)) return true
  if (isTold) channel.close()
  else retry(channel, abort)
  return false
}

const isDone = ({ kind, payload }: Message, count: number): boolean =>
  kind === DONE && decodeNumbers(payload, 1)[0] === count

/** Reads all messages that have come. @returns whether one was DONE */
function hasDone(channel: Channel, count: number): boolean {
  for (;;) {
    let received: ReturnType<Channel['tryReceive']>
    try {
      received = channel.tryReceive()
    } catch (error) {
      // A message that could not be received was not DONE.
      if (['EMFILE', 'EMSGSIZE'].includes((error as SystemError).code)) continue
      return false
    }
    if (received === undefined || received === 'end') return false
    for (const fd of received.descriptors) closeDescriptor(fd)
    try {
      if (isDone(decode(received.bytes), count)) return true
    } catch {
      // Nor was one that is not of this protocol.
    }
  }
}

/** Says ABORT when there is room. Until then the channel stays open: its end would mean that this process has died. */
function retry(channel: Channel, abort: Buffer): void {
  const timer = outside(() =>
    setInterval(() => {
      const errno = channel.trySend(abort)
      if (!isTemporary(errno)) {
        clearInterval(timer)
        channel.close()
      }
    }, RETRY)
  )
  timer.unref()
}
