/** Parked servers of a test, and their clients. Unlike those of net-parity.ts, they need no plain twin. */
import { once } from 'node:events'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import type { Parked } from 'ebb'
import { onTestFinished } from 'vitest'
import { until } from './sockets.js'

/** Lets a server listen. At the end of the test, it closes all its connections. */
export async function listening<S extends Server & Parked>(server: S, path?: string): Promise<S> {
  await new Promise<void>((resolve) => (path ? server.listen(path, resolve) : server.listen(0, '127.0.0.1', resolve)))
  onTestFinished(async () => {
    server.close()
    server.closeAllConnections()
    await until(() => server.stats().parked + server.stats().awake === 0)
  })
  return server
}

/** Connects a client, whose errors are ignored. It is destroyed at the end of the test. */
export async function client(server: Server): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket.on('error', () => {})
}
