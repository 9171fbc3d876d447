/**
 * The messages by which the main thread asks worker threads to collect. Worker threads that load `ebb/auto` answer
 * them, and need neither koffi nor the inspector for it.
 */
import { BroadcastChannel } from 'node:worker_threads'

/** Other versions of this library in this process depend on the name and the messages: change both together. */
const NAME = 'ebb.collect.1'

/**
 * A message of the channel. `thread` is the id of the worker thread that sent it. A busy worker does not collect if
 * that would pause it for more than `maxPause` ms.
 */
export type WorkerMessage =
  | { what: 'ready'; thread: number }
  | { what: 'collect'; round: number; maxPause: number }
  | { what: 'collected'; thread: number; round: number; hasCollected: boolean }

/** Opens the channel of this process. It does not hold the thread open. */
export function openWorkerChannel(onMessage: (message: WorkerMessage) => void): {
  send(message: WorkerMessage): void
} {
  const channel = new BroadcastChannel(NAME)
  channel.onmessage = (event: unknown) => onMessage((event as { data: WorkerMessage }).data)
  // The types lack it: https://nodejs.org/api/worker_threads.html#broadcastchannelunref
  ;(channel as unknown as { unref(): void }).unref()
  return { send: (message) => channel.postMessage(message) }
}
