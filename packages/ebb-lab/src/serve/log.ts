/** The events of `ebb serve`, and the log lines made of them. */
import type { RuntimeView } from 'ebb/memory'
import { formatAddress } from 'ebb/sys'
import type { Mode } from './server.js'

/** An event of a server that `serve()` or a `Supervisor` runs. Sizes are bytes, times are milliseconds. */
export type ServeEvent =
  /** The server listens. With several server processes, `procs` is their number and `pid` is the supervisor's. */
  | { event: 'listening'; mode: Mode; host: string; port: number; pid: number; procs?: number }
  /** The number of clients reached a multiple of `every`. `cycle` counts how often it has returned to 0. */
  | ({ event: 'cycle'; cycle: number; clients: number } & RuntimeView)
  /**
   * Memory was released. `before` and `after` are anonymous memory; `pauseMs` is the longest pause of the event loop.
   */
  | { event: 'release'; release: number; before: number; after: number; ms: number; pauseMs: number }
  /** The server paused accepting because it ran out of descriptors or memory, or a server process could not start. */
  | { event: 'warning'; code: string; text: string }
  /** A server process ended with `clients` connections, by its last report. The next one starts in `wait` ms. */
  | { event: 'ended'; pid: number; exitCode: number | null; signal: string | null; clients: number; wait: number }
  /** A restarted server process listens. */
  | { event: 'started'; pid: number }

/** Formats an event as one line of the log, without the line break: text for people, or JSON. */
export function serveLine(event: ServeEvent, form: 'text' | 'json'): string {
  if (form === 'json') return JSON.stringify(event)
  switch (event.event) {
    case 'listening': {
      const procs = event.procs === undefined ? '' : `, ${event.procs} ${event.procs === 1 ? 'server' : 'servers'}`
      return `Listening on ${formatAddress(event)} (${event.mode}, pid ${event.pid}${procs})`
    }
    case 'cycle': {
      const { system, inuse, released, objects } = event
      const memory = `System: ${system} Inuse: ${inuse} Released: ${released} Objects: ${objects ?? '-'}`
      return `Cycle #${String(event.cycle).padStart(3)}: ${event.clients} clients | ${memory}`
    }
    case 'release': {
      const { before, after, ms, pauseMs } = event
      const time = `${ms.toFixed(1)} ms (pause ${pauseMs.toFixed(1)} ms)`
      return `Release #${String(event.release).padStart(3)}: ${before} -> ${after} bytes in ${time}`
    }
    case 'warning':
      return `Warning: ${event.text}`
    case 'ended': {
      const how = event.signal ?? `exit code ${event.exitCode}`
      const restart = `another starts in ${event.wait / 1000} s`
      return `Server ${event.pid} ended (${how}) with ${event.clients} clients; ${restart}`
    }
    case 'started':
      return `Server ${event.pid} listens in its place`
  }
}
