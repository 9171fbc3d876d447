/** Checks of a parked server, for tests: see `sys/audit.ts`. */
import { targetOf } from '../sys/audit.js'
import { descriptorOf } from './node/socket.js'
import type { Registration } from './registration.js'
import type { Connections } from './state/connections.js'
import { UNREFERENCED } from './state/table.js'
import type { Timers } from './timers.js'

/** Compares table, awake connections, reactor, timers and `/proc/self/fd`. @returns what is wrong */
export function auditConnections(connections: Connections, registration: Registration, timers: Timers): string[] {
  const { table, awake } = connections
  const wrong: string[] = []
  const count = { used: 0, parked: 0, referenced: 0, awake: 0, timers: 0 }
  const expect = (what: string, actual: unknown, expected: unknown): void => {
    if (actual !== expected) wrong.push(`${what}: ${actual}, expected ${expected}`)
  }
  for (let row = 0; row < table.end; row++) {
    if (timers.has(row)) count.timers++
    if (table.id(row) === 0) {
      const kept = [connections.awake, connections.requests, connections.listening].some((map) => map.has(row))
      if (kept || connections.attachments.get(row) !== undefined) wrong.push(`row ${row} is free, but state is kept`)
      if (timers.has(row)) wrong.push(`row ${row} is free, but has a timer`)
      continue
    }
    count.used++
    const fd = table.fd(row)
    if (fd >= 0) {
      count.parked++
      if ((table.flags(row) & UNREFERENCED) === 0) count.referenced++
      expect(`row of parked descriptor ${fd}`, table.row(fd), row)
      expect(`owner of parked descriptor ${fd}`, registration.reactor.ownerOf(fd), registration.owner)
      if (!targetOf(fd)?.startsWith('socket:')) wrong.push(`descriptor ${fd} of row ${row} is ${targetOf(fd)}`)
      if (awake.has(row)) wrong.push(`row ${row} is parked, but has a socket`)
      continue
    }
    count.awake++
    const socket = awake.get(row)?.socket
    if (socket === undefined) wrong.push(`row ${row} is awake, but has no socket`)
    else if (socket.closed) wrong.push(`row ${row} is awake, but its socket is closed`)
    else if (descriptorOf(socket) >= 0) {
      const target = targetOf(descriptorOf(socket))
      if (!target?.startsWith('socket:')) wrong.push(`descriptor of the socket of row ${row} is ${target}`)
    }
  }
  expect('rows in use', table.size, count.used)
  expect('awake connections', awake.size, count.awake)
  expect('parked connections', registration.parked, count.parked)
  expect('parked connections that keep the process running', registration.referenced, count.referenced)
  expect('timers', timers.size, count.timers)
  for (const row of awake.keys()) if (row >= table.end) wrong.push(`awake row ${row} is not in the table`)
  return wrong
}
