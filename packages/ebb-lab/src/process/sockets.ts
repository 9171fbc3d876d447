/** Reads which TCP sockets are listened on, and which processes hold them. */
import fs from 'node:fs'
import { processIds } from 'ebb/memory'
import { SocketDiag } from 'ebb/sys'
import { codeOf, RecordError, reasonOf } from '../units/errors.js'
import { readTcpTable } from './proc-net.js'

/** A TCP socket that is listened on. */
export interface TcpListener {
  port: number
  host: string
  inode: number
}

let ownDiag: SocketDiag | null | undefined

/**
 * Returns what asks the kernel for sockets of the own network namespace; null if the kernel or its configuration does
 * not allow it. It stays open.
 */
export function socketDiag(): SocketDiag | null {
  if (ownDiag !== undefined) return ownDiag
  try {
    const diag = new SocketDiag()
    diag.listening()
    ownDiag = diag
  } catch {
    ownDiag = null
  }
  return ownDiag
}

/**
 * Returns every listening TCP socket of the network namespace of a process. Asks the kernel for these only, where it
 * can, because a table in `/proc` has all connections of the machine.
 *
 * @throws RecordError with the errno
 */
export function tcpListeners(pid: number | 'self' = 'self'): TcpListener[] {
  const diag = pid === 'self' ? socketDiag() : null
  if (diag !== null) {
    return diag.listening().map(({ port, address, inode }) => ({ port, host: hostOf(address), inode }))
  }
  const listeners: TcpListener[] = []
  for (const family of [4, 6] as const) {
    const table = `/proc/${pid}/net/tcp${family === 4 ? '' : '6'}`
    try {
      readTcpTable(pid, family, ({ listens, port, address, inode }) => {
        if (listens) listeners.push({ port, host: hostOf(address), inode })
      })
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
  }
  return listeners
}

/** `::ffff:0:0/96` of RFC 4291: IPv4 addresses on an IPv6 socket. */
const MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

/** Returns an IPv4 or IPv6 address, given as its 4 or 16 bytes, as text. */
export function hostOf(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  // Java listens on IPv4 like this.
  if (bytes.subarray(0, 12).equals(MAPPED)) return bytes.subarray(12).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16))
  // A URL writes an address in its shortest form: [::1].
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** Returns listeners by the link that `/proc/PID/fd/N` has for their socket: `socket:[12345]`. */
export function socketsOf(listeners: readonly TcpListener[]): Map<string, TcpListener> {
  return new Map(listeners.map((listener) => [`socket:[${listener.inode}]`, listener]))
}

/**
 * Returns the processes that hold any of the sockets. `denied`: some processes could not be inspected.
 *
 * @param candidates processes to look at. Default: all
 */
export function holdersOf(
  sockets: ReadonlyMap<string, unknown>,
  candidates: readonly number[] = processIds()
): { pids: number[]; denied: boolean } {
  const pids: number[] = []
  let denied = false
  for (const pid of candidates) {
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
export function socketLinks(pid: number): string[] {
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

/** Whether a read of `/proc/PID` failed because the process has ended. */
export function isGone(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH'
}

/** Whether a read of `/proc/PID` failed because this user may not inspect the process. */
export function isDenied(error: unknown): boolean {
  return codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM'
}
