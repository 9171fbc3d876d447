/** Finding the {@link Parking} of a server, whether `park()` was called for it or not. */
import type { Server } from 'node:net'
import { Governor, type GovernorOptions } from '../govern/connection-governor.js'
import { tuneAllocator } from '../memory/thresholds.js'
import { warn } from '../sys/errors.js'
import { reactor } from '../sys/reactor.js'
import type { ServerInternals } from './node/server.js'
import { Parking } from './parking.js'

/** Higher than a governor's own defaults, because connections are slower for a while after a release. */
export const RELEASE_THRESHOLDS: GovernorOptions = { least: 500, worth: 2_000_000 }
/** Default of `attachmentLimit`, in bytes. */
export const ATTACHMENT_LIMIT = 16_384

const parkings = new WeakMap<Server, Parking>()

/** Sets the parking of a server for which `park()` was called. */
export function setParking(server: Server, parking: Parking): void {
  parkings.set(server, parking)
}

/**
 * Returns the parking of a server. For a server that is not parked, makes one that holds only upgraded connections: the
 * server accepts and reads its connections as before.
 *
 * @returns undefined where connections cannot be parked; the first such call emits a warning
 */
export function parkingOf(server: Server): Parking | undefined {
  if (!isSupported()) return undefined
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

let warned = false

/** Whether connections can be parked here. If not, warns once. */
export function isSupported(): boolean {
  try {
    reactor()
    return true
  } catch (error) {
    if (!warned) warn('EBB_UNSUPPORTED', `${(error as Error).message}; the server runs as plain Node`)
    warned = true
    return false
  }
}
