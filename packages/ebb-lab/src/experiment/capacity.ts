/** Checks that servers have the descriptors that their connections need. */
import { readdirSync, readFileSync } from 'node:fs'
import { descriptorLimit } from 'ebb/sys'
import { integer } from '../units/format.js'

/** Descriptors that every server has open: standard input, output and error, and the socket that it listens on. */
const OWN_DESCRIPTORS = 4

/** A command that contains one of these words chooses the descriptor limit of its server. */
const SETS_LIMIT = /\b(ulimit|prlimit|setrlimit|LimitNOFILE|docker|podman)\b/

/**
 * Returns what a server lacks that is to hold `connections`, before it is started: each inherits the descriptor limit
 * of this process, unless its command sets another. Returns undefined if it lacks nothing.
 */
export function lackOfInherited(name: string, connections: number, command: readonly string[]): string | undefined {
  const limit = descriptorLimit()
  if (connections + OWN_DESCRIPTORS <= limit || command.some((word) => SETS_LIMIT.test(word))) return undefined
  return (
    `${name} is to hold ${integer(connections)} connections, and its process may have ` +
    `${integer(limit)} descriptors open: at least ${integer(connections + OWN_DESCRIPTORS - limit)} are missing; ` +
    'ask for fewer, or raise the limit (ulimit -n)'
  )
}

/**
 * Returns what a running server lacks that is to hold `connections`. Returns undefined if it lacks nothing, or if its
 * limit is not known.
 */
export function lackOfRunning(name: string, connections: number, pid: number): string | undefined {
  const { limit, open } = descriptorsOf(pid)
  if (connections + open <= limit) return undefined
  return (
    `${name} is to hold ${integer(connections)} connections, and its process may have ` +
    `${integer(limit)} descriptors open, ${integer(open)} of which it needs itself: ` +
    `${integer(connections + open - limit)} are missing; ask for fewer, or raise the limit (ulimit -n)`
  )
}

/** Returns the soft descriptor limit of a process, and how many descriptors it has open. */
function descriptorsOf(pid: number): { limit: number; open: number } {
  try {
    const limits = readFileSync(`/proc/${pid}/limits`, 'latin1')
    const [, soft = 'unlimited'] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? []
    return {
      limit: soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft),
      open: readdirSync(`/proc/${pid}/fd`).length
    }
  } catch {
    // The process has ended or belongs to another user: the run will show whether its limit suffices.
    return { limit: Number.POSITIVE_INFINITY, open: 0 }
  }
}
