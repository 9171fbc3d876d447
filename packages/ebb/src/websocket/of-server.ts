/** Finding the {@link WebSockets} of a server. */
import type { Server } from 'node:net'
import { parkingOf } from '../park/parking-of.js'
import { WebSockets } from './web-sockets.js'

/**
 * Returns the WebSocket connections of a server. Call it for each upgrade, because a call of `park()` for the server
 * changes the result. Earlier connections stay where they are.
 *
 * @returns undefined where connections cannot be parked
 */
export function webSocketsOf(server: Server): WebSockets | undefined {
  const upgrades = parkingOf(server)?.upgrades
  if (upgrades === undefined) return undefined
  upgrades.protocol ??= new WebSockets(upgrades)
  return upgrades.protocol as WebSockets
}
