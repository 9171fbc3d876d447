/** Parks a server of a program that does not call ebb. Loaded when the first such server begins to listen. */
import type { Server } from 'node:net'
import { parkAsIs } from '../park/park.js'
import { warnUnsupported } from '../park/parking-of.js'
import { isHttp } from '../park/protocol/kind.js'
import { reactorFault } from '../sys/reactor.js'
import { parkUpgrades } from '../websocket/ws/park-upgrades.js'
import type { Parts, PreloadOptions } from './options.js'

/** @returns what of the server is parked; nothing where connections cannot be parked, after a process warning */
export function parkServer(server: Server, parts: Parts, { idle, carry, giveBack, deflate }: PreloadOptions): Parts {
  const fault = reactorFault()
  if (fault !== undefined) {
    warnUnsupported('ebb/park', fault, 'servers run as plain Node')
    return { connections: false, webSockets: false }
  }
  // Listeners of a `net.Server` do not expect a second socket of the same connection, so it is never parked again.
  const options = isHttp(server) ? { idle: `${idle}ms`, carry, giveBack } : { giveBack }
  const connections = parts.connections && parkAsIs(server, options)
  if (parts.webSockets) parkUpgrades(server, { idle, deflate })
  return { connections, webSockets: parts.webSockets }
}
