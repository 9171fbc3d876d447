/** Parks a server of a program that does not call ebb. Loaded when the first such server begins to listen. */
import type { Server } from 'node:net'
import { parkAsIs } from '../park/park.js'
import { isSupported } from '../park/parking-of.js'
import { isHttp } from '../park/protocol/kind.js'
import { parkUpgrades } from '../websocket/ws/park-upgrades.js'
import type { PreloadOptions } from './options.js'
import type { Parts } from './watch-listen.js'

/** @returns what of the server is parked; nothing where connections cannot be parked, after a process warning */
export function parkServer(server: Server, parts: Parts, options: PreloadOptions): Parts {
  const { idle, carry, giveBack, deflate } = options
  if (!isSupported()) return { connections: false, webSockets: false }
  // Listeners of a `net.Server` do not expect a second socket of the same connection, so it is never parked again.
  const connections = parts.connections && parkAsIs(server, isHttp(server) ? { idle, carry, giveBack } : { giveBack })
  if (parts.webSockets) parkUpgrades(server, { idle, deflate })
  return { connections, webSockets: parts.webSockets }
}
