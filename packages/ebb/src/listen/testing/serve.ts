/** A server for unit tests. It runs the sources, so that tests and server share one set of classes. */
import { onTestFinished } from 'vitest'
import type { Handlers } from '../handlers.js'
import { type Listener, type ListenOptions, listen } from '../listen.js'

/** Listens on a port that the kernel chooses, without releases of memory. The server is closed after the test. */
export function serve(handlers: Handlers = {}, options: ListenOptions = { port: 0 }): Listener {
  const listener = listen({ giveBack: false, ...options }, handlers)
  onTestFinished(async () => {
    const closed = listener.close()
    try {
      listener.closeConnections()
    } finally {
      await closed
    }
  })
  return listener
}
