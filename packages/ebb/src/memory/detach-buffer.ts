import { MessageChannel } from 'node:worker_threads'

/** Frees the memory of `buffer` now instead of when it is collected. The buffer has length 0 from then on. */
export function detachBuffer(buffer: ArrayBuffer & { transfer?(length: number): ArrayBuffer }): void {
  if (buffer.transfer !== undefined) {
    buffer.transfer(0)
    return
  }
  // Node 20 has no `transfer()`. A message to a closed port takes the buffer with it.
  const { port1 } = new MessageChannel()
  port1.close()
  port1.postMessage(undefined, [buffer])
}
