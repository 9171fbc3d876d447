/**
 * What a protocol and a client are to each other.
 *
 * A client owns the descriptors, the time limits and the schedule. A protocol is one object for all connections of a
 * client: it reads and writes bytes. A connection has no object; its *line* is a small number, by which both keep what
 * they know about it in arrays.
 *
 *     CONNECTING --TCP, TLS--> begin() ... wire.opened() --> OPEN --every N ms--> speak() ... wire.answered()
 *                                 |                           |
 *                                 +------- wire.refuse() -----+
 */
import type { TrafficCounter } from '../traffic.js'

/** The rules of a protocol, for all connections of one client. */
export interface Protocol {
  /** Whether {@link speak} makes the connection await an answer, so that the next message waits for it. */
  readonly awaitsAnswer: boolean
  /** Whether a connection is of no use once an answer is overdue: a later answer would be taken for the next one. */
  readonly needsOrder: boolean
  /** Makes room for lines below `size`. */
  reserve(size: number): void
  /** The connection is established, with TLS if it has any. Calls {@link Wire.opened}, at once or after a handshake. */
  begin(line: number): void
  /** Takes in `length` received bytes. The memory is used again after the call. */
  receive(line: number, bytes: Buffer, length: number): void
  /** The server has ended the connection. Returns the cause to count, such as `FIN`. */
  ended(line: number): string
  /** Sends the message of an open connection. */
  speak(line: number): void
  /** Sends a ping. Calls {@link Wire.ponged} when it is answered. */
  ping(line: number): void
  /** Returns what to send before an open connection is closed with a FIN. */
  lastWords(line: number): Uint8Array | undefined
  /** Drops what is kept about a connection, which is closed. */
  forget(line: number): void
}

/** What a client does for its protocol. */
export interface Wire {
  /** Counts of messages and answers. */
  readonly traffic: TrafficCounter
  /** Returns the number of a connection in its run, from 0 on: `{id}` in a text. */
  idOf(line: number): number
  /** Returns how many messages the connection has sent: `{n}` in a text. */
  sentBy(line: number): number
  /** Returns whether the connection awaits an answer. */
  isAwaiting(line: number): boolean
  /**
   * Sends bytes. What the kernel does not take at once is copied and sent later.
   *
   * @param address of the bytes (`addressOf`), which makes the call cheaper; 0 if it is not known
   */
  send(line: number, bytes: Uint8Array, address?: number): void
  /** The handshake is complete. */
  opened(line: number): void
  /** The awaited answer has come. */
  answered(line: number): void
  /** The awaited answer is wrong. The connection stays open. */
  unanswered(line: number, cause: string): void
  /** The awaited pong has come. */
  ponged(line: number): void
  /** Ends the connection because of what the server sent. It is counted as failed or as lost, with this cause. */
  refuse(line: number, cause: string): void
}

/** What connections say over TCP. All settings are JSON, because processes and agents get them as messages. */
interface TcpSettings {
  readonly protocol: 'tcp'
}

/** An HTTP request. The texts may contain `{id}`, `{n}` and `{time}`. */
export interface HttpSettings {
  readonly protocol: 'http'
  /** Value of the header `Host`. */
  readonly host: string
  /** Path and query. */
  readonly path: string
  readonly method: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** The body, or null. */
  readonly body: string | null
}

/** A WebSocket handshake. The texts may contain `{id}` and `{time}`. */
export interface WebSocketSettings {
  readonly protocol: 'ws'
  /** Value of the header `Host`. */
  readonly host: string
  /** Path and query. */
  readonly path: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Subprotocols to offer. The server must choose one of them. */
  readonly subprotocols: readonly string[]
}

/** An MQTT 3.1.1 session. The texts may contain `{id}` and `{time}`. */
export interface MqttSettings {
  readonly protocol: 'mqtt'
  readonly clientId: string
  readonly username: string | null
  readonly password: string | null
  /** Keep-alive in seconds, 0 for none. */
  readonly keepAlive: number
  /** Topic filters to subscribe to. */
  readonly subscribe: readonly string[]
  /** Topic of the messages, or null for none. It may also contain `{n}`. */
  readonly topic: string | null
  /** Quality of service of messages and subscriptions. */
  readonly qos: 0 | 1
}

/** What the connections of a client say. */
export type ProtocolSettings = TcpSettings | HttpSettings | WebSocketSettings | MqttSettings

/** TLS in front of the protocol. */
export interface TlsSettings {
  /** Name for SNI and for the check of the certificate; empty if the target is an IP address. */
  readonly servername: string
  /** Host of the target, for which the certificate must be valid if there is no name. */
  readonly host: string
  /** Certificates of authorities, in PEM, or null for those that Node knows. */
  readonly ca: string | null
  /** Client certificate and its key, in PEM, or null. */
  readonly cert: string | null
  readonly key: string | null
  /** Whether a certificate that cannot be verified is accepted. */
  readonly insecure: boolean
  /** Whether connections resume the session of an earlier one. */
  readonly resume: boolean
  /** Application protocols to offer (ALPN). */
  readonly alpn: readonly string[]
}
