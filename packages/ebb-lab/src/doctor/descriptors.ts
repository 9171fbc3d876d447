/** Reads the descriptors of a process by kind. */
import { socketLinks } from '../process/sockets.js'
import { readOrNothing } from './files.js'
import { readSockets, type Sockets } from './sockets.js'

/** The open descriptors of a process. */
export interface Descriptors {
  open: number
  /** Number of descriptors that the process may have (`ulimit -n`); null if it has no limit, or it cannot be read. */
  limit: number | null
  /** Number of descriptors by kind: `socket`, `pipe`, `file`, `deleted file`, `epoll`, `eventfd`, `device`, ... */
  kinds: Record<string, number>
  sockets: Sockets
}

/** Kinds by the link of the descriptor. The first that matches counts. */
const KINDS: [RegExp, string][] = [
  [/^socket:/, 'socket'],
  [/^pipe:/, 'pipe'],
  [/^anon_inode:\[?eventpoll/, 'epoll'],
  [/^anon_inode:\[?(\w+)/, '$1'],
  [/^\/memfd:/, 'memfd'],
  [/^\/dev\/shm\//, 'shared memory'],
  [/^\/dev\//, 'device'],
  [/^\/.* \(deleted\)$/, 'deleted file'],
  [/^\//, 'file'],
  [/^(\w+):\[/, '$1']
]

/** Returns the descriptors of a process. Throws `EACCES` if this user may not see them. */
export function readDescriptors(pid: number): Descriptors {
  const kinds: Record<string, number> = {}
  const inodes = new Set<string>()
  let open = 0
  for (const link of socketLinks(pid)) {
    // Closed since the folder was listed.
    if (link === '') continue
    open++
    const kind = kindOf(link)
    kinds[kind] = (kinds[kind] ?? 0) + 1
    if (kind === 'socket') inodes.add(link.slice('socket:['.length, -1))
  }
  return { open, limit: limitOf(pid, 'Max open files'), kinds, sockets: readSockets(pid, inodes) }
}

function kindOf(link: string): string {
  for (const [pattern, kind] of KINDS) {
    const match = pattern.exec(link)
    if (match !== null) return kind === '$1' ? (match[1] as string) : kind
  }
  return 'other'
}

/** Returns the soft limit of a line of `/proc/PID/limits`; null if it is unlimited or cannot be read. */
export function limitOf(pid: number, name: string): number | null {
  const lines = readOrNothing(`/proc/${pid}/limits`).split('\n')
  const line = lines.find((line) => line.startsWith(name)) ?? ''
  const [soft = ''] = line.slice(name.length).trim().split(/\s+/)
  return /^\d+$/.test(soft) ? Number(soft) : null
}
