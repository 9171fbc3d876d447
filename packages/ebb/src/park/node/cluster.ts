/** A worker of `node:cluster`, and the messages that it sends to its primary. */
import type { Cluster } from 'node:cluster'
import { isIP } from 'node:net'
import { isMainThread } from 'node:worker_threads'
import type { ServerInternals } from './server.js'

/** Whether this process is a worker of a cluster. `node:cluster` is loaded only in a process that has a parent. */
export const inCluster =
  process.channel !== undefined &&
  (process.getBuiltinModule('node:cluster') as unknown as Cluster).isWorker &&
  isMainThread

/**
 * Makes a server that listens by itself look to the primary like one that listens through it. The primary emits
 * `listening` for this message of its workers, and `cluster.disconnect()` closes the server.
 *
 * @param address null: all interfaces
 */
export function tellPrimary(server: ServerInternals, address: string | null, port: number): void {
  if (!inCluster) return
  const close = () => server.close()
  process.once('disconnect', close)
  server.once('close', () => process.off('disconnect', close))
  server.once('listening', () => {
    const addressType = address !== null && isIP(address) === 6 ? 6 : 4
    process.send?.({ cmd: 'NODE_CLUSTER', act: 'listening', address, port, addressType, fd: undefined })
  })
}
