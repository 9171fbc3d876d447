/** Runs in worker threads: collects in steps when the main thread asks for it. Does not load koffi. */
import { threadId } from 'node:worker_threads'
import { collectInSteps } from './collect-in-steps.js'
import { detachBuffer } from './detach-buffer.js'
import { openWorkerChannel } from './worker-channel.js'
import { mayCollect } from './worker-limit.js'

/**
 * Bytes of a buffer. When it is freed, glibc looks whether the end of this thread's heap can be returned.
 * `sys/malloc.ts` does the same with `trimOwnTop()`, which needs koffi.
 */
const PROBE = 96 * 1024

/** Makes this worker thread collect whenever the main thread releases memory of its workers, too. */
export function collectWhenAsked(): void {
  const channel = openWorkerChannel((message) => {
    if (message.what !== 'collect') return
    const { maxPause, round } = message
    void collectIfAllowed(maxPause).then((hasCollected) => {
      channel.send({ what: 'collected', thread: threadId, round, hasCollected })
    })
  })
  channel.send({ what: 'ready', thread: threadId })
}

async function collectIfAllowed(maxPause: number): Promise<boolean> {
  if (!(await mayCollect(maxPause))) return false
  await collectInSteps()
  detachBuffer(new ArrayBuffer(PROBE))
  return true
}
