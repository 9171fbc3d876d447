/** The servers that `node:cluster` makes for itself. */
import type { Server } from 'node:net'

/**
 * Whether this is the server with which the primary of a cluster accepts connections for its workers. Node takes its
 * handle away as soon as it listens, and its only listener is an assertion that fails.
 */
export function isDistributor(server: Server): boolean {
  const [listener, ...others] = server.listeners('connection')
  return listener?.name === 'fail' && others.length === 0
}
