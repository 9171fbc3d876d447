/** What `ebb serve` tells, as events and as lines of its log. */
import type { RuntimeView } from 'ebb/memory'
import { formatAddress } from 'ebb/sys'
import type { Mode } from './server.js'

export type ServeEvent =
  /** `procs`: servers that share the port; `pid` is then their supervisor's. */
  | { event: 'listening'; mode: Mode; host: string; port: number; pid: number; procs?: number }
  /** `cycle`: how often the number of clients has come back to 0. */
  | ({ event: 'cycle'; cycle: number; clients: number } & RuntimeView)
  /** Memory was given back: anonymous memory before and after, bytes; ms. */
  | { event: 'release'; release: number; before: number; after: number; ms: number; pauseMs: number }
  /** Accepting pauses: out of descriptors, or of memory. */
  | { event: 'warning'; code: string; text: string }
  /** One of several servers has ended, with the clients that it last told of; another starts in `wait` ms. */
  | { event: 'ended'; pid: number; exitCode: number | null; signal: string | null; clients: number; wait: number }
  /** That other listens. */
  | { event: 'started'; pid: number }

/** An event as a line of the log, in the form that is asked for. */
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
      return `Server ${event.pid} ended (${how}) with ${event.clients} clients; another starts in ${event.wait / 1000} s`
    }
    case 'started':
      return `Server ${event.pid} listens in its place`
  }
}
