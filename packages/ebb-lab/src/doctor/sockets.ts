/** Reads the sockets of a process: how many there are in which state, and what waits in them. */
import { readOrNothing } from './files.js'

/** The sockets of a process. */
export interface Sockets {
  /** Number of sockets by protocol and state: `tcp ESTABLISHED`, `udp`, `unix`, `other`. */
  count: Record<string, number>
  /** Bytes that have arrived and that the program has not read. The kernel holds at least this much for them. */
  unread: number
  /** Bytes that the program has written and that the peers have not taken. */
  unsent: number
  /** Connections with unread bytes, and with unsent bytes. */
  withUnread: number
  withUnsent: number
  /** Connections that the kernel has accepted for a listening socket, and the program has not. */
  waiting: number
}

/** States of TCP in the order of their numbers, from 1 on; see `include/net/tcp_states.h` of the kernel. */
const STATES =
  'ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING'.split(' ')

/**
 * Reads the sockets with the given inodes from the tables of a process's network namespace. Sockets of another kind,
 * or of another namespace, count as `other`.
 */
export function readSockets(pid: number, inodes: ReadonlySet<string>): Sockets {
  const sockets: Sockets = { count: {}, unread: 0, unsent: 0, withUnread: 0, withUnsent: 0, waiting: 0 }
  if (inodes.size === 0) return sockets
  const add = (kind: string): void => {
    sockets.count[kind] = (sockets.count[kind] ?? 0) + 1
  }
  // The kernel may list a socket twice if the table changes while it is read.
  const left = new Set(inodes)
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6']) {
    for (const line of linesOf(pid, table)) {
      const [, , , state = '', queues = '', , , , , inode = ''] = line.trim().split(/\s+/)
      if (!left.delete(inode)) continue
      const kind = table.startsWith('tcp') ? `tcp ${STATES[Number.parseInt(state, 16) - 1] ?? state}` : 'udp'
      add(kind)
      const [sent = 0, arrived = 0] = queues.split(':').map((hex) => Number.parseInt(hex, 16))
      // The end of the stream counts as a byte.
      const received = kind === 'tcp CLOSE_WAIT' ? Math.max(0, arrived - 1) : arrived
      if (kind === 'tcp LISTEN') {
        sockets.waiting += received
        continue
      }
      sockets.unread += received
      sockets.unsent += sent
      if (received > 0) sockets.withUnread++
      if (sent > 0) sockets.withUnsent++
    }
  }
  for (const line of linesOf(pid, 'unix')) {
    const [, , , , , , inode = ''] = line.split(/\s+/)
    if (left.delete(inode)) add('unix')
  }
  if (left.size > 0) sockets.count.other = left.size
  return sockets
}

/** Returns the lines of a table without its heading; none if it cannot be read. */
function linesOf(pid: number, table: string): string[] {
  // A machine without IPv6 has no table for it. A process that has ended is noticed by the caller.
  return readOrNothing(`/proc/${pid}/net/${table}`).split('\n').slice(1)
}
