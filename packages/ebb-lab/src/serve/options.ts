/** The options of `serve()` and of `Supervisor`, and what they return. */
import type { ServeEvent } from './log.js'
import type { Mode } from './server.js'

/** Options of {@link serve}. */
export interface ServeOptions {
  /**
   * `park`: idle connections are bare descriptors in epoll. `net`: a plain `node:net` server, for comparison.
   *
   * @default 'park'
   */
  mode?: Mode
  /**
   * IP address or host name to listen on.
   *
   * @default '127.0.0.1'
   */
  host?: string
  /**
   * TCP port to listen on; 0 picks a free port.
   *
   * @default 3033
   */
  port?: number
  /**
   * Maximum number of connections that wait in the kernel to be accepted.
   *
   * @default 4096
   */
  backlog?: number
  /**
   * Emits a `cycle` event whenever the number of clients reaches a multiple of this.
   *
   * @default 500
   */
  every?: number
  /** Called for every event. See {@link serveLine} for the text of the log. */
  onEvent?: (event: ServeEvent) => void
}

/** A running server, or several server processes that share a port. */
export interface Served {
  /** IP address that the server listens on. */
  host: string
  /** TCP port that the server listens on. */
  port: number
  /** Connections that are open now. */
  readonly clients: number
  /** Stops accepting and closes every connection. */
  close(): Promise<void>
}

/** Defaults of {@link ServeOptions}. */
export const SERVE_DEFAULTS = {
  mode: 'park',
  host: '127.0.0.1',
  port: 3033,
  backlog: 4096,
  every: 500,
  onEvent: () => {}
} satisfies Required<ServeOptions>
