/** Servers of `hibernate()` of each kind, whose handlers note what they are called with. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { park } from '../../park/park.js'
import type { WebSocketConnection } from '../hibernate/connection.js'
import { type Hibernation, hibernate } from '../hibernate/hibernate.js'
import type { HibernateHandlers, HibernateOptions } from '../hibernate/options.js'
import { type Event, EventLog } from './event-log.js'

export const KINDS = ['a port of its own', 'an HTTP server', 'a parked HTTP server'] as const
export type Kind = (typeof KINDS)[number]

/** A running server, and what its handlers were called with. */
export interface HubServer {
  hub: Hibernation
  port: number
  url: string
  events: Event[]
  /** Connections that were opened, oldest first. */
  sockets: WebSocketConnection[]
  /** Resolves when there are at least `count` events of this name. */
  seen: EventLog['seen']
}

/** Starts a server. It is closed at the end of the test. */
export async function serveHub(
  kind: Kind,
  changes: HibernateHandlers = {},
  options: HibernateOptions = {}
): Promise<HubServer> {
  const { events, note, seen } = new EventLog()
  const sockets: WebSocketConnection[] = []
  const handlers: HibernateHandlers = {
    open(socket) {
      sockets.push(socket)
      note('open', socket.id)
    },
    message: (_socket, data, binary) => note('message', binary ? (data as Buffer).toString('latin1') : data, binary),
    close: (socket, code, reason, wasClean) => note('close', code, reason, wasClean, socket.id),
    error: (_socket, error) => note('error', error.code, error.closeCode),
    drain: (socket) => note('drain', socket.id)
  }
  for (const [name, changed] of Object.entries(changes)) {
    const before = (handlers as Record<string, ((...args: unknown[]) => unknown) | undefined>)[name]
    Object.assign(handlers, {
      [name](...args: unknown[]) {
        before?.(...args)
        return (changed as (...values: unknown[]) => unknown)(...args)
      }
    })
  }
  const own = kind === 'a port of its own'
  const plain = http.createServer((_, response) => response.end('http'))
  const hub = hibernate(own ? { port: 0 } : kind === 'an HTTP server' ? plain : park(plain), handlers, options)
  if (!own) await once(hub.server.listen(0, '127.0.0.1'), 'listening')
  const { port } = hub.server.address() as AddressInfo
  onTestFinished(async () => {
    for (const socket of hub.sockets()) socket.terminate()
    await hub.close()
    if (!hub.server.listening) return
    hub.server.close()
    hub.server.closeAllConnections()
    await once(hub.server, 'close')
  })
  return {
    hub,
    port,
    url: `ws://127.0.0.1:${port}`,
    events,
    sockets,
    seen
  }
}
