/** Finding the {@link Parking} of a server, whether `park()` was called for it or not. */
import type { Server } from 'node:net'
import { Governor, type GovernorOptions } from '../govern/connection-governor.js'
import { tuneAllocator } from '../memory/thresholds.js'
import { ATTACHMENT_LIMIT } from '../socket/attachments.js'
import { warn } from '../sys/errors.js'
import { reactorFault } from '../sys/reactor.js'
import type { ServerInternals } from './node/server.js'
import { Parking } from './parking.js'

/** Higher than a governor's own defaults, because connections are slower for a while after a release. */
export const RELEASE_THRESHOLDS: GovernorOptions = { least: 500, worth: 2_000_000 }

const parkings = new WeakMap<Server, Parking>()

/** Sets the parking of a server for which `park()` was called. */
export function setParking(server: Server, parking: Parking): void {
  parkings.set(server, parking)
}

/** Returns the parking of a server for which `park()` was called, or which has upgraded connections. */
export function knownParking(server: Server): Parking | undefined {
  return parkings.get(server)
}

/**
 * Returns the parking of a server. For a server that is not parked, makes one that holds only upgraded connections: the
 * server accepts and reads its connections as before.
 *
 * @returns undefined where connections cannot be parked
 */
export function parkingOf(server: Server): Parking | undefined {
  if (reactorFault() !== undefined) return undefined
  const known = parkings.get(server)
  if (known !== undefined) return known
  tuneAllocator({ timer: true })
  const parking = new Parking(server as unknown as ServerInternals, {
    idle: undefined,
    first: 'client',
    firstByteTimeout: 0,
    attachmentLimit: ATTACHMENT_LIMIT,
    governor: new Governor(RELEASE_THRESHOLDS)
  })
  parkings.set(server, parking)
  return parking
}

/** What was lost already, so that it is not said again. */
const lost = new Set<string>()

/**
 * Emits the process warning that connections cannot be parked, once for each loss.
 *
 * @param caller the function that the program called: `park()`
 * @param fault what {@link reactorFault} returned
 * @param instead what happens now
 */
export function warnUnsupported(caller: string, fault: string, instead: string): void {
  if (lost.has(instead)) return
  lost.add(instead)
  warn('EBB_UNSUPPORTED', `${caller} cannot park connections here: ${fault}; ${instead}`)
}
