/** Who owns upgraded connections of a server, and takes those of another process. */
import type { Server } from 'node:net'

/** An owner of upgraded connections: `hibernate()`, for example. */
export interface UpgradeOwner {
  /** The same in both processes, and different for all owners of a server. */
  readonly name: string
  /** Prepares to take connections: the protocol of the server's upgraded connections knows the owner after that. */
  prepare(): void
}

const owners = new WeakMap<Server, UpgradeOwner[]>()

/** Adds an owner of connections that can move to another process. */
export function addUpgradeOwner(server: Server, owner: UpgradeOwner): void {
  owners.set(server, [...upgradeOwnersOf(server), owner])
}

/** Removes an owner that takes no more connections. */
export function removeUpgradeOwner(server: Server, owner: UpgradeOwner): void {
  owners.set(
    server,
    upgradeOwnersOf(server).filter((other) => other !== owner)
  )
}

export function upgradeOwnersOf(server: Server): readonly UpgradeOwner[] {
  return owners.get(server) ?? []
}
