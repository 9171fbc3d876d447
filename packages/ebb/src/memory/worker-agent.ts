/** Runs in worker threads: collects in steps when the main thread asks for it. Does not load koffi. */
import { threadId } from 'node:worker_threads'
import { collectInSteps } from './collect-in-steps.js'
import { openWorkerChannel } from './worker-channel.js'

/** Makes this worker thread collect whenever the main thread releases memory of its workers, too. */
export function collectWhenAsked(): void {
  const channel = openWorkerChannel((message) => {
    if (message.what !== 'collect') return
    void collectInSteps().then(() => {
      channel.send({ what: 'collected', thread: threadId, round: message.round })
    })
  })
  channel.send({ what: 'ready', thread: threadId })
}
