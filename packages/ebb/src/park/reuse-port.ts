/** `listen({ reusePort: true })` on Node 20, which does not know the option. */
import type { Cluster } from 'node:cluster'
import { isMainThread } from 'node:worker_threads'
import { bindSocket } from '../sys/socket.js'
import { type ListeningHandle, listeningHandle } from './node/handle.js'
import type { HandleRequest, ServerInternals } from './node/server.js'

/** Node knows `reusePort` from 22.12 and 23.1 on. */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isKnown = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12)

/** Whether this process is a worker of a cluster. `node:cluster` is loaded only in a process that has a parent. */
const inCluster =
  !isKnown &&
  process.channel !== undefined &&
  (process.getBuiltinModule('node:cluster') as unknown as Cluster).isWorker &&
  isMainThread

/** `UV_TCP_IPV6ONLY` */
const IPV6_ONLY = 1

/**
 * Makes `listen()` of a server know `reusePort`. In a worker of a cluster, the option implies `exclusive`, as in later
 * versions of Node.
 *
 * @returns a function that makes the handle for a request of `listen()`; undefined if Node makes it
 */
export function bindsSharedPorts(server: ServerInternals): (request: HandleRequest) => ListeningHandle | undefined {
  if (isKnown) return () => undefined
  const { listen } = server
  let isAsked = false
  server.listen = function (this: ServerInternals, ...args: unknown[]) {
    const [options] = args
    isAsked = typeof options === 'object' && options !== null && 'reusePort' in options && options.reusePort === true
    if (isAsked && inCluster) args[0] = Object.assign(Object.create(options as object), { exclusive: true })
    return listen.apply(this, args as [port: number])
  } as ServerInternals['listen']
  return (request) => {
    const [address, port, addressType, , , flags = 0] = request
    if (!isAsked || port === null || port < 0 || addressType === -1) return undefined
    for (const host of address ? [address] : ['::', '0.0.0.0']) {
      try {
        const ipv6Only = (flags & IPV6_ONLY) !== 0
        const handle = listeningHandle(bindSocket({ host, port }, { reuseAddress: true, reusePort: true, ipv6Only }))
        request[0] = host
        request[2] = host.includes(':') ? 6 : 4
        return handle
      } catch {
        // Node cannot bind the address either, and reports the error.
      }
    }
    return undefined
  }
}
