/** Polls Go's own view of its memory over HTTP: `memstats` of the package `expvar`. */
import http from 'node:http'
import https from 'node:https'
import type { RuntimeView } from 'ebb/memory'
import { isCount } from '../units/count.js'
import type { ErrorCode } from '../units/error-codes.js'
import { codeOf, messageOf, RecordError, reasonOf } from '../units/errors.js'
import { expvarFailed, expvarRecovered, type NoteMark } from './notes.js'

/** Bytes of an answer. Go's own variables take about 10 KB; a program may publish others. */
const LARGEST_ANSWER = 4 * 1024 * 1024

/** Options of {@link scrape}. Times are in milliseconds. */
export interface ScrapeOptions {
  /** Called with each answer. */
  onView: (view: RuntimeView) => void
  /** Called when polling fails, when it fails for another reason, and when it works again. */
  onNote: (note: NoteMark) => void
  /** Time from one poll to the next. Default: 1,000. */
  every?: number
  /** Time for one whole answer. Default: 5,000. */
  timeout?: number
}

/** A running poll. */
export interface Scraper {
  stop(): void
}

/**
 * Parses the address to poll.
 *
 * @throws RecordError (`ERR_INVALID_URL`) if it is no http or https URL
 */
export function expvarUrl(text: string | URL): URL {
  const url = URL.canParse(String(text)) ? new URL(String(text)) : null
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  const example = 'http://127.0.0.1:6060/debug/vars'
  throw new RecordError(`${String(text)} is not an address to poll: give one like ${example}`, 'ERR_INVALID_URL')
}

/**
 * Starts to poll `url` (`/debug/vars`), at once and then every second. Failures go to `onNote` and are never thrown.
 */
export function scrape(url: string | URL, options: ScrapeOptions): Scraper {
  const { onView, onNote, every = 1000, timeout = 5000 } = options
  const target = expvarUrl(url)
  const shown = withoutSecrets(target)
  const stopping = new AbortController()
  const agent = new (target.protocol === 'https:' ? https : http).Agent({ keepAlive: true, maxSockets: 1 })
  let failure: string | null = null
  let timer: NodeJS.Timeout | undefined

  const poll = async (): Promise<void> => {
    const started = performance.now()
    try {
      const view = await readExpvar(target, { timeout, agent, signal: stopping.signal })
      if (stopping.signal.aborted) return
      if (failure !== null) onNote(expvarRecovered(shown))
      failure = null
      onView(view)
    } catch (error) {
      if (stopping.signal.aborted) return
      const reason = messageOf(error)
      if (reason !== failure) onNote(expvarFailed(reason))
      failure = reason
    }
    timer = setTimeout(poll, Math.max(0, every - (performance.now() - started)))
  }

  void poll()
  return {
    stop() {
      stopping.abort()
      clearTimeout(timer)
      agent.destroy()
    }
  }
}

/**
 * Polls once.
 *
 * @throws RecordError, whose message has the address without its password
 */
export async function readExpvar(
  url: string | URL,
  options: { timeout?: number; agent?: http.Agent; signal?: AbortSignal } = {}
): Promise<RuntimeView> {
  const target = expvarUrl(url)
  const shown = withoutSecrets(target)
  let body: string
  try {
    body = await get(target, options)
  } catch (error) {
    throw new RecordError(
      `${shown} cannot be polled: ${error instanceof RecordError ? error.message : reasonOf(error)}`,
      codeOf(error),
      'connect',
      error
    )
  }
  const view = memstats(body)
  if (view === null) {
    throw new RecordError(`${shown} answers, but not with Go's memstats (expvar, /debug/vars)`, 'ERR_EXPVAR')
  }
  return view
}

function memstats(body: string): RuntimeView | null {
  let stats: Record<string, unknown> | null | undefined
  try {
    stats = JSON.parse(body)?.memstats
  } catch {
    return null
  }
  const system = stats?.HeapSys
  const inuse = stats?.HeapInuse
  const released = stats?.HeapReleased
  const objects = stats?.HeapObjects ?? null
  if (!isCount(system) || !isCount(inuse) || !isCount(released)) return null
  if (objects !== null && !isCount(objects)) return null
  return { system, inuse, released, objects }
}

function get(
  url: URL,
  options: { timeout?: number; agent?: http.Agent; signal?: AbortSignal },
  retried = false
): Promise<string> {
  const { timeout = 5000, agent, signal } = options
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).get(url, {
      ...(agent && { agent }),
      ...(signal && { signal }),
      headers: { accept: 'application/json' }
    })
    const timer = setTimeout(() => fail(`no answer within ${timeout / 1000} s`, 'ETIMEDOUT'), timeout)
    const fail = (reason: string, code: ErrorCode) => request.destroy(new RecordError(reason, code))

    request.on('response', (response) => {
      const { statusCode } = response
      if (statusCode !== 200) {
        fail(`it answers with status ${statusCode}`, 'ERR_HTTP_STATUS')
        return
      }
      const chunks: Buffer[] = []
      let length = 0
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length > LARGEST_ANSWER) fail(`its answer is larger than ${LARGEST_ANSWER} bytes`, 'ERR_TOO_LARGE')
        else chunks.push(chunk)
      })
      response.on('end', () => {
        clearTimeout(timer)
        resolve(Buffer.concat(chunks).toString())
      })
      response.on('error', settle)
    })
    request.on('error', settle)

    function settle(error: Error): void {
      clearTimeout(timer)
      // The server may close a keep-alive connection at the moment when it is reused.
      if (request.reusedSocket && codeOf(error) === 'ECONNRESET' && !retried) resolve(get(url, options, true))
      else reject(error)
    }
  })
}

function withoutSecrets(url: URL): string {
  const copy = new URL(url)
  copy.username = ''
  copy.password = ''
  return copy.href
}
