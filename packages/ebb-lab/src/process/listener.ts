/** Finds out which process listens on a TCP port, and on which ports a process listens. */
import { listProcesses, processIds, readStat } from 'ebb/memory'
import { RecordError } from '../units/errors.js'
import { serversBehind } from './forwarder.js'
import { familyOf, type Launched, startedBy } from './launch.js'
import { holdersOf, isDenied, isGone, socketLinks, socketsOf, tcpListeners } from './sockets.js'

/**
 * Returns the process that listens on a TCP port, on any address, in this network namespace.
 *
 * @throws RecordError: `ESRCH` if no process listens, `EACCES` if this user may not see which process listens, `EEXIST`
 *   if several processes listen (the message names them), `EINVAL` if `port` is no port
 */
export function findListener(port: number): number {
  const [pid, ...others] = findListeners(port)
  if (others.length > 0)
    throw severalListen(port, [pid, ...others], 'give the pid of one of them, or --tree for their sum')
  return pid
}

/**
 * Returns the process whose tree contains every process that listens on a TCP port: the only listener, or the nearest
 * common ancestor of all listeners.
 *
 * @throws RecordError as {@link findListener}; `EEXIST` if several processes listen that have no common ancestor
 */
export function findRoot(port: number): number {
  const pids = findListeners(port)
  const [first, ...others] = pids.map(ancestry) as [number[], ...number[][]]
  const root = first.find((pid) => pid > 1 && others.every((chain) => chain.includes(pid)))
  if (root === undefined) throw severalListen(port, pids, 'no process started all of them; give the pid of one')
  return root
}

/** Returns the error for several processes that listen on a port. */
function severalListen(port: number, pids: readonly number[], advice: string): RecordError {
  return new RecordError(
    `${pids.length} processes listen on port ${port}: ${pids.join(', ')}; ${advice}`,
    'EEXIST',
    'readlink'
  )
}

/** Returns a process, its parent, and so on, up to the first process. */
function ancestry(pid: number): number[] {
  const chain: number[] = []
  for (let next = pid; next > 0; next = parentOf(next)) chain.push(next)
  return chain
}

/** Returns 0 if the process has no parent or has ended. */
function parentOf(pid: number): number {
  try {
    return readStat(pid).parent
  } catch (error) {
    if (isGone(error)) return 0
    throw error
  }
}

/** Returns all processes that listen on a port. Throws as {@link findListener}, except for `EEXIST`. */
function findListeners(port: number): [number, ...number[]] {
  if (!Number.isSafeInteger(port) || port < 1 || port > 65535) {
    throw new RecordError(`${port} is not a port: give a whole number from 1 to 65535`, 'EINVAL', 'open')
  }
  const sockets = socketsOf(tcpListeners().filter((listener) => listener.port === port))
  if (sockets.size === 0) {
    throw new RecordError(
      `no process listens on port ${port}: start the server first, ` +
        'or give its pid if it runs in another network namespace',
      'ESRCH',
      'open'
    )
  }
  const { pids, denied } = holdersOf(sockets)
  const [pid, ...others] = pids
  if (pid === undefined) {
    const owner = denied ? 'a process of another user, or a hidden process,' : 'a hidden process'
    throw new RecordError(
      `${owner} listens on port ${port}: run as that user or as root, or give the pid`,
      'EACCES',
      'readlink'
    )
  }
  const [server = pid, ...rest] = new Set([pid, ...others].flatMap((holder) => serversBehind(holder, port)))
  return [server, ...rest]
}

/** Returns the address on which a TCP port of this network namespace is listened on; undefined if it is not. */
export function hostListeningOn(port: number): string | undefined {
  return tcpListeners().find((listener) => listener.port === port)?.host
}

/** A TCP socket on which a process listens. */
export interface Listening {
  pid: number
  port: number
  /** Address that the socket is bound to. `0.0.0.0` and `::` stand for every address. */
  host: string
}

/**
 * Returns the TCP sockets on which anything listens that a command has started, daemons included; see
 * {@link listeningAmong} and {@link startedBy}.
 */
export function listeningFrom(launched: Pick<Launched, 'pid' | 'run'>): Listening[] {
  return listeningAmong(startedBy(launched).map(({ pid }) => pid))
}

/**
 * Returns the TCP sockets on which a process and its descendants listen; see {@link listeningAmong}.
 *
 * @throws `ENOENT` if there is no such process
 */
export function listeningUnder(root: number): Listening[] {
  readStat(root)
  return listeningAmong(familyOf([root], listProcesses()).map(({ pid }) => pid))
}

/**
 * Returns the TCP sockets on which a process listens; see {@link listeningAmong}.
 *
 * @throws `ENOENT` if there is no such process
 */
export function listeningOf(pid: number): Listening[] {
  readStat(pid)
  // The id of a thread can be read like one of a process, but is not listed.
  return listeningAmong(processIds().filter((listed) => listed === pid))
}

/**
 * Returns the TCP sockets on which any of the processes listens, sorted by port, then by pid. Leaves out processes that
 * this user may not inspect.
 */
export function listeningAmong(pids: readonly number[]): Listening[] {
  const sockets = socketsOf(tcpListeners())
  const found: Listening[] = []
  for (const pid of pids) {
    try {
      for (const link of socketLinks(pid)) {
        const socket = sockets.get(link)
        if (socket !== undefined) found.push({ pid, port: socket.port, host: socket.host })
      }
    } catch (error) {
      if (!isDenied(error) && !isGone(error)) throw error
    }
  }
  return found.sort((a, b) => a.port - b.port || a.pid - b.pid)
}
