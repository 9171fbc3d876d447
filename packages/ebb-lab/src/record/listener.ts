import fs from 'node:fs'
import { codeOf, RecordError, reasonOf } from './errors.js'

/** `TCP_LISTEN` of the kernel's `include/net/tcp_states.h`, as `/proc/net/tcp` writes it. */
const LISTENING = '0A'

/**
 * The process that listens on a TCP port, on any address, in this network namespace.
 *
 * Throws {@link RecordError}: `ESRCH` when nobody listens, `EACCES` when this user may not see who does, `EEXIST` when
 * several processes do, which the sentence names.
 */
export function findListener(port: number): number {
  if (!Number.isSafeInteger(port) || port < 1 || port > 65535) {
    throw new RecordError(`${port} is not a port: give a whole number from 1 to 65535`, 'EINVAL', 'open')
  }
  const sockets = listeningSockets(port)
  if (sockets.size === 0) {
    throw new RecordError(
      `nobody listens on port ${port}: start the server first, or give its pid if it runs in another network namespace`,
      'ESRCH',
      'open'
    )
  }
  const { pids, denied } = holders(sockets)
  const [pid] = pids
  if (pid === undefined) {
    const who = denied ? 'a process of another user, or none in sight,' : 'no process in sight'
    throw new RecordError(
      `${who} listens on port ${port}: run as that user or as root, or give the pid`,
      'EACCES',
      'readlink'
    )
  }
  if (pids.length > 1) {
    throw new RecordError(
      `${pids.length} processes listen on port ${port}: ${pids.join(', ')}; give the pid of one of them`,
      'EEXIST',
      'readlink'
    )
  }
  return pid
}

/** What `/proc/PID/fd/N` links to for each listening socket: `socket:[12345]`. */
function listeningSockets(port: number): Set<string> {
  const sockets = new Set<string>()
  for (const table of ['/proc/self/net/tcp', '/proc/self/net/tcp6']) {
    let text: string
    try {
      text = fs.readFileSync(table, 'latin1')
    } catch (error) {
      // A machine without IPv6 has no table for it.
      if (codeOf(error) === 'ENOENT' && table.endsWith('6')) continue
      throw new RecordError(`cannot look up port ${port}: ${table}: ${reasonOf(error)}`, codeOf(error), 'open', error)
    }
    for (const line of text.split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
      if (state !== LISTENING || local === undefined) continue
      if (Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16) === port) sockets.add(`socket:[${inode}]`)
    }
  }
  return sockets
}

function holders(sockets: Set<string>): { pids: number[]; denied: boolean } {
  const pids: number[] = []
  let denied = false
  for (const name of fs.readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isSafeInteger(pid)) continue
    try {
      if (fs.readdirSync(`/proc/${pid}/fd`).some((fd) => sockets.has(linkOf(`/proc/${pid}/fd/${fd}`)))) pids.push(pid)
    } catch (error) {
      // Processes come and go while the list is read; those of others may not be looked into.
      if (codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM') denied = true
      else if (codeOf(error) !== 'ENOENT' && codeOf(error) !== 'ESRCH') {
        throw new RecordError(`cannot look into process ${pid}: ${reasonOf(error)}`, codeOf(error), 'open', error)
      }
    }
  }
  return { pids: pids.sort((a, b) => a - b), denied }
}

function linkOf(path: string): string {
  try {
    return fs.readlinkSync(path)
  } catch (error) {
    // Closed since the list was read.
    if (codeOf(error) === 'ENOENT') return ''
    throw error
  }
}
