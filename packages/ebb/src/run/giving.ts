/** Giving what `ebb run` holds to a process, with the messages of a handover. */
import { receiveDone, wasDone } from '../handover/done.js'
import type { Link } from '../handover/link.js'
import { BYE, encode, encodeJson, HANDOVER_SOCKET, type Hello, LISTENING } from '../handover/protocol.js'
import type { Holding } from './holding.js'

/** How long `ebb run` is blocked at most while a process takes over, ms. */
const PATIENCE = 2000

/** What a process that was given connections gets beside them, before BYE. */
export type Rest = (send: (message: Buffer) => void) => void

/**
 * Gives duplicates of what is held to the process at the other end of a link, and closes the link. Blocks this process
 * until the other one has them, or refuses them.
 *
 * @param handoverSocket which the process is to listen at; the caller still owns it
 * @param rest sends more messages to a process that has taken over
 * @returns the number of connections
 * @throws {Error} why the process has not taken over
 */
export function give(
  link: Link,
  hello: Hello,
  holding: Holding,
  handoverSocket: number,
  rest: Rest = () => {}
): number {
  const channel = link.detach()
  const deadline = performance.now() + PATIENCE
  let count = -1
  let isOpen = true
  try {
    channel.send(encodeJson(LISTENING, HANDOVER_SOCKET), [handoverSocket], deadline)
    count = holding.give(channel, hello, deadline)
    receiveDone(channel, count, deadline)
  } catch (error) {
    isOpen = false
    if (!wasDone(channel, count, error as Error)) throw error
  }
  if (isOpen) {
    rest((message) => channel.send(message, [], deadline))
    channel.trySend(encode(BYE))
  }
  channel.close()
  return count
}
