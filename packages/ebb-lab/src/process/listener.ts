import fs from 'node:fs'
import { endianness } from 'node:os'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import { statOf } from './stat.js'

/** `TCP_LISTEN` of the kernel's `include/net/tcp_states.h`, as `/proc/net/tcp` writes it. */
const LISTENING = '0A'

/**
 * The process that listens on a TCP port, on any address, in this network namespace.
 *
 * Throws {@link RecordError}: `ESRCH` when nobody listens, `EACCES` when this user may not see who does, `EEXIST` when
 * several processes do, which the sentence names.
 */
export function findListener(port: number): number {
  const [pid, ...others] = findListeners(port)
  if (others.length > 0) throw several(port, [pid, ...others], 'give the pid of one of them, or --tree for their sum')
  return pid
}

/**
 * The root of the processes that listen on a TCP port: the one that does, or the nearest that started all of them. As {@link findListener};
 * `EEXIST` when nobody did.
 */
export function findRoot(port: number): number {
  const pids = findListeners(port)
  const [first, ...others] = pids.map(ancestry) as [number[], ...number[][]]
  const root = first.find((pid) => pid > 1 && others.every((line) => line.includes(pid)))
  if (root === undefined) throw several(port, pids, 'nobody started all of them; give the pid of one')
  return root
}

function several(port: number, pids: readonly number[], advice: string): RecordError {
  return new RecordError(
    `${pids.length} processes listen on port ${port}: ${pids.join(', ')}; ${advice}`,
    'EEXIST',
    'readlink'
  )
}

/** A process, who started it, and so on, up to the first of all. */
function ancestry(pid: number): number[] {
  const line: number[] = []
  for (let next = pid; next > 0; next = parentOf(next)) line.push(next)
  return line
}

/** 0: nobody, or it has ended meanwhile. */
function parentOf(pid: number): number {
  try {
    return statOf(pid).parent
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return 0
    throw error
  }
}

/** Those who listen on a port: one at least. Throws as {@link findListener} but for `EEXIST`. */
function findListeners(port: number): [number, ...number[]] {
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
  const [pid, ...others] = pids
  if (pid === undefined) {
    const who = denied ? 'a process of another user, or none in sight,' : 'no process in sight'
    throw new RecordError(
      `${who} listens on port ${port}: run as that user or as root, or give the pid`,
      'EACCES',
      'readlink'
    )
  }
  return [pid, ...others]
}

/** A TCP socket that a process listens on. */
export interface Listening {
  pid: number
  port: number
  /** The address it is bound to: `0.0.0.0` and `::` are every one. */
  host: string
}

/**
 * What the processes of a group listen on: a command's own process and what it started, when it leads the group. Sorted by port,
 * then pid. Processes that may not be looked into are left out.
 */
export function listeningIn(group: number): Listening[] {
  return listeningOfAll((pid) => groupOf(pid) === group)
}

/** What a process and all that it started listen on; as {@link listeningIn}. Throws `ENOENT` when there is no such process. */
export function listeningUnder(root: number): Listening[] {
  statOf(root)
  return listeningOfAll((pid) => ancestry(pid).includes(root))
}

function listeningOfAll(wanted: (pid: number) => boolean): Listening[] {
  const sockets = new Map<string, Omit<Listening, 'pid'>>()
  for (const { inode, ...socket } of tcpListeners()) sockets.set(`socket:[${inode}]`, socket)
  const found: Listening[] = []
  for (const name of fs.readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isSafeInteger(pid)) continue
    try {
      if (!wanted(pid)) continue
      for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
        const socket = sockets.get(linkOf(`/proc/${pid}/fd/${fd}`))
        if (socket !== undefined) found.push({ pid, ...socket })
      }
    } catch (error) {
      if (!['EACCES', 'EPERM', 'ENOENT', 'ESRCH'].includes(codeOf(error))) throw error
    }
  }
  return found.sort((a, b) => a.port - b.port || a.pid - b.pid)
}

/** Where `pid` listens, as {@link listeningIn}. */
export function listeningOf(pid: number): Listening[] {
  return listeningIn(groupOf(pid)).filter((listening) => listening.pid === pid)
}

function groupOf(pid: number): number {
  return statOf(pid).group
}

interface TcpListener {
  port: number
  host: string
  inode: string
}

/** Every listening TCP socket of this network namespace. */
function tcpListeners(): TcpListener[] {
  const listeners: TcpListener[] = []
  for (const family of [4, 6] as const) {
    const table = `/proc/self/net/tcp${family === 4 ? '' : '6'}`
    let text: string
    try {
      text = fs.readFileSync(table, 'latin1')
    } catch (error) {
      // A machine without IPv6 has no table for it.
      if (codeOf(error) === 'ENOENT' && family === 6) continue
      throw new RecordError(`cannot look up who listens: ${table}: ${reasonOf(error)}`, codeOf(error), 'open', error)
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

/** `::ffff:0:0/96` of RFC 4291. */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

/** An address as the table writes it: words of 32 bits in the machine's order, in hexadecimal. */
function hostOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  if (endianness() === 'LE') bytes.swap32()
  if (bytes.length === 4) return bytes.join('.')
  // IPv4 on a socket of IPv6, as Java has it.
  if (bytes.subarray(0, 12).equals(MAPPED)) return bytes.subarray(12).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16))
  // A URL has the shortest form: [::1].
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** What `/proc/PID/fd/N` links to for each listening socket: `socket:[12345]`. */
function listeningSockets(port: number): Set<string> {
  const listeners = tcpListeners().filter((listener) => listener.port === port)
  return new Set(listeners.map(({ inode }) => `socket:[${inode}]`))
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
