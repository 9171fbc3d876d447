/** The options of a client, which are also the options of the processes that share a crowd. */
import type { IdRange } from './ids.js'
import type { ProtocolSettings, TlsSettings } from './protocols/protocol.js'

/** How a client connects, and what its connections say. */
export interface ClientOptions {
  /** The server: an IP address (not a host name) and a port, or the path of a Unix socket. */
  address: { host: string; port: number } | { path: string }
  /**
   * Local addresses to connect from, in turn. If empty, the kernel chooses; on loopback, more are added as ports run
   * out.
   */
  sources: readonly string[]
  /** Connects per second. `Infinity` connects as fast as the server answers. */
  rate: number
  /** Milliseconds after which a connect with its handshakes, or an awaited answer, has failed. */
  timeout: number
  /** How to close: with a FIN, or with a reset (`SO_LINGER` of 0). */
  close: 'fin' | 'rst'
  /**
   * Message of each active connection, or null: bytes, or a text in which `{id}`, `{n}` and `{time}` stand for values.
   * It is sent once the connection is open. HTTP sends its request in place of it.
   */
  payload: string | Uint8Array | null
  /** Share of connections that send messages, from 0 to 1, spread evenly. */
  active: number
  /** Whether active connections wait for the message to come back. */
  expectEcho: boolean
  /** Index of this client among `of` clients that share the load. Clients take different automatic sources. */
  part: { index: number; of: number }
  /** Index of the server among the `of` servers of the run, so that their connections have different numbers. */
  server?: { index: number; of: number }
  /** Numbers of the connections in their run. Default: from 0 on. */
  ids?: IdRange
  /** What connections say. Default: bare TCP. */
  protocol?: ProtocolSettings
  /** TLS in front of the protocol, or null. Default: null. */
  tls?: TlsSettings | null
  /** Milliseconds between two messages of a connection. 0: the next one follows each answer. Default: only one. */
  every?: number
  /** Milliseconds between two pings of a connection. Default: none. */
  ping?: number
}
