/** How a server of the experiment is started. */
import type { ServeEvent } from './log.js'
import type { Mode } from './server.js'

export interface ServeOptions {
  /** `park`: connections are bare descriptors in epoll. `net`: a plain `node:net` server, for comparison. Default: `park`. */
  mode?: Mode
  /** An address or a name; default: 127.0.0.1. */
  host?: string
  /** 0: a free one. Default: 3033. */
  port?: number
  /** Default: 4096. */
  backlog?: number
  /** A line whenever the number of clients reaches a multiple of this. Default: 500. */
  every?: number
  /** Told of what a line of the log says. */
  onEvent?: (event: ServeEvent) => void
}

/** A server that runs, or several. */
export interface Served {
  host: string
  port: number
  readonly clients: number
  /** Stops accepting and closes every connection. */
  close(): Promise<void>
}

/** What is left out of {@link ServeOptions}. */
export const SERVE_DEFAULTS = {
  mode: 'park',
  host: '127.0.0.1',
  port: 3033,
  backlog: 4096,
  every: 500,
  onEvent: () => {}
} satisfies Required<ServeOptions>
