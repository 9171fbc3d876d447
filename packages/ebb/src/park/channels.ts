/**
 * The channels of `node:diagnostics_channel` that tell of parked and woken connections. Without subscribers, a park or
 * a wake costs one look whether there are any.
 */
import { type Channel, channel } from 'node:diagnostics_channel'
import type { Server } from 'node:net'
import { outside } from '../sys/node/callback-scope.js'

/** Published on the channel `ebb:park` when a connection that was awake is parked. */
export interface ParkMessage {
  /** Its server. */
  server: Server
  /** Number of the connection: `Connection.id`. */
  id: number
}

/** Published on the channel `ebb:wake` when a connection has got a socket. */
export interface WakeMessage extends ParkMessage {
  /** How often it was woken, including this wake. */
  wakes: number
}

/** Has {@link ParkMessage}. */
export const PARK: Channel = channel('ebb:park')
/** Has {@link WakeMessage}. */
export const WAKE: Channel = channel('ebb:wake')

/** Publishes a message outside of the context of any connection. An exception becomes an `uncaughtException`. */
export function publish(to: Channel, message: ParkMessage | WakeMessage): void {
  outside(() => to.publish(message))
}
