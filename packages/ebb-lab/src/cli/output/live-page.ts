/** The live page of a command: opened before the run, kept after it if that is asked for. */
import { type LiveServer, serveLive } from '../../live/server.js'
import type { LiveView } from '../../live/view.js'
import { type LiveFlags, parseLiveAddress } from '../options/live.js'
import type { Terminal } from './terminal.js'

/**
 * Runs something with its live page. The page ends with the run, or, with `--live-keep`, at Ctrl-C.
 *
 * @param source what the page shows; null: there is no page
 * @throws LabError (the errno) if the page cannot be served, before the run; what `run` throws
 */
export async function withLivePage<T>(
  { live, liveKeep = false }: LiveFlags,
  source: { view(): LiveView } | null,
  { terminal, signal }: { terminal: Terminal; signal: AbortSignal },
  run: () => Promise<T>
): Promise<T> {
  if (source === null) return await run()
  const page = await serveLive(live ?? parseLiveAddress(''), () => source.view())
  terminal.line(`Live page at ${page.url}`)
  try {
    const result = await run()
    if (liveKeep && !signal.aborted) await untilAborted(page, signal, terminal)
    return result
  } finally {
    await page.end()
  }
}

/** Serves a page until Ctrl-C. */
export async function untilAborted(page: LiveServer, signal: AbortSignal, terminal: Terminal): Promise<void> {
  page.update()
  terminal.line(`The page stays at ${page.url} until Ctrl-C`)
  if (signal.aborted) return
  // A listener on a signal keeps no process running.
  const timer = setInterval(() => {}, 2 ** 30)
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  clearInterval(timer)
}
