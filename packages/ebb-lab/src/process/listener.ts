/** Finds out which process listens on a TCP port, and on which ports a process listens. */
import fs from 'node:fs'
import { endianness } from 'node:os'
import { processIds, readStat } from 'ebb/memory'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'

/** `TCP_LISTEN` of the kernel's `include/net/tcp_states.h`, as `/proc/net/tcp` writes it. */
const LISTENING = '0A'

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
  return [pid, ...others]
}

/** A TCP socket on which a process listens. */
export interface Listening {
  pid: number
  port: number
  /** Address that the socket is bound to. `0.0.0.0` and `::` stand for every address. */
  host: string
}

/**
 * Returns the TCP sockets on which the processes of a process group listen, sorted by port, then by pid. Leaves out
 * processes that this user may not inspect.
 */
export function listeningIn(group: number): Listening[] {
  return listeningOfAll((pid) => readStat(pid).group === group)
}

/**
 * Returns the TCP sockets on which a process and its descendants listen; see {@link listeningIn}.
 *
 * @throws `ENOENT` if there is no such process
 */
export function listeningUnder(root: number): Listening[] {
  readStat(root)
  return listeningOfAll((pid) => ancestry(pid).includes(root))
}

/**
 * Returns the TCP sockets on which a process listens; see {@link listeningIn}.
 *
 * @throws `ENOENT` if there is no such process
 */
export function listeningOf(pid: number): Listening[] {
  return listeningIn(readStat(pid).group).filter((listening) => listening.pid === pid)
}

function listeningOfAll(isWanted: (pid: number) => boolean): Listening[] {
  const sockets = socketsOf(tcpListeners())
  const found: Listening[] = []
  for (const pid of processIds()) {
    try {
      if (!isWanted(pid)) continue
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

interface TcpListener {
  port: number
  host: string
  inode: string
}

/** Returns every listening TCP socket of this network namespace. */
function tcpListeners(): TcpListener[] {
  const listeners: TcpListener[] = []
  for (const family of [4, 6] as const) {
    const table = `/proc/self/net/tcp${family === 4 ? '' : '6'}`
    let text: string
    try {
      text = fs.readFileSync(table, 'latin1')
    } catch (error) {
      // A machine without IPv6 has no such table.
      if (codeOf(error) === 'ENOENT' && family === 6) continue
      throw new RecordError(
        `cannot look up listening sockets in ${table}: ${reasonOf(error)}`,
        codeOf(error),
        'open',
        error
      )
    }
    for (const line of text.split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
      if (state !== LISTENING || local === undefined || inode === undefined) continue
      const [address = '', port = ''] = local.split(':')
      listeners.push({ port: Number.parseInt(port, 16), host: hostOf(address), inode })
    }
  }
  return listeners
}

/** `::ffff:0:0/96` of RFC 4291: IPv4 addresses on an IPv6 socket. */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

/** Returns an address that the table writes as 32-bit words in the machine's byte order, in hexadecimal. */
function hostOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  if (endianness() === 'LE') bytes.swap32()
  if (bytes.length === 4) return bytes.join('.')
  // Java listens on IPv4 like this.
  if (bytes.subarray(0, 12).equals(MAPPED)) return bytes.subarray(12).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16))
  // A URL writes an address in its shortest form: [::1].
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** Returns listeners by the link that `/proc/PID/fd/N` has for their socket: `socket:[12345]`. */
function socketsOf(listeners: readonly TcpListener[]): Map<string, TcpListener> {
  return new Map(listeners.map((listener) => [`socket:[${listener.inode}]`, listener]))
}

/** Returns the processes that hold any of the sockets. `denied`: some processes could not be inspected. */
function holdersOf(sockets: ReadonlyMap<string, unknown>): { pids: number[]; denied: boolean } {
  const pids: number[] = []
  let denied = false
  for (const pid of processIds()) {
    try {
      if (socketLinks(pid).some((link) => sockets.has(link))) pids.push(pid)
    } catch (error) {
      if (isDenied(error)) denied = true
      else if (!isGone(error)) {
        throw new RecordError(`cannot inspect process ${pid}: ${reasonOf(error)}`, codeOf(error), 'open', error)
      }
    }
  }
  return { pids: pids.sort((a, b) => a - b), denied }
}

/** Returns the link of each descriptor of a process. */
function socketLinks(pid: number): string[] {
  return fs.readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`))
}

function linkOf(path: string): string {
  try {
    return fs.readlinkSync(path)
  } catch (error) {
    // The descriptor was closed after the folder was listed.
    if (codeOf(error) === 'ENOENT') return ''
    throw error
  }
}

function isGone(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH'
}

function isDenied(error: unknown): boolean {
  return codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM'
}
