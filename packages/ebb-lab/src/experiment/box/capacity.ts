/** Checks that this machine has the descriptors, ports and folders that a box needs. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { descriptorLimit } from 'ebb/sys'
import { crowdCapacity, MAX_PROCESSES, processesFor } from '../../pulse/crowd.js'
import { maxConnections } from '../../pulse/shapes.js'
import { localPorts } from '../../pulse/sources.js'
import { integer } from '../../units/format.js'
import { BoxFileError } from './mistakes.js'
import type { ServerPlan } from './plan.js'

/**
 * Checks the number of client processes, before anything is started.
 *
 * @throws BoxFileError if the plans need more client processes than allowed
 */
export function checkClients(servers: readonly ServerPlan[]): void {
  const crowds = servers.map(({ shape }) => maxConnections(shape))
  const processes = crowds.reduce((sum, most) => sum + processesFor(most), 0)
  if (processes <= MAX_PROCESSES) return
  const [largest] = servers.toSorted((a, b) => maxConnections(b.shape) - maxConnections(a.shape))
  const connections = crowds.reduce((sum, most) => sum + most, 0)
  const over = connections - crowdCapacity(MAX_PROCESSES)
  const excess = over > 0 ? `${integer(over)} connections` : `${processes - MAX_PROCESSES} processes`
  throw new BoxFileError(
    `${largest?.where}: the plans ask for ${integer(connections)} connections; ` +
      `under the descriptor limit of ${integer(descriptorLimit())} they take ${processes} processes, ` +
      `${MAX_PROCESSES} at most: ${excess} are too many; ask for fewer, or raise the limit (ulimit -n)`
  )
}

/**
 * Checks the working directories, before anything is started: `spawn()` would report a missing folder as a missing
 * program.
 *
 * @throws BoxFileError if a working directory does not exist
 */
export function checkFolders(servers: readonly ServerPlan[]): void {
  const server = servers.find(({ cwd }) => statSync(cwd, { throwIfNoEntry: false })?.isDirectory() !== true)
  if (server !== undefined) {
    throw new BoxFileError(`${server.where}: the working directory of ${server.name} is not a folder: ${server.cwd}`)
  }
}

/** Descriptors that every server has open: standard input, output and error, and the socket that it listens on. */
const OWN_DESCRIPTORS = 4

/** A command that contains one of these words chooses the descriptor limit of its server. */
const SETS_LIMIT = /\b(ulimit|prlimit|setrlimit|LimitNOFILE|docker|podman)\b/

/**
 * Checks that servers can hold the connections of their plans, before anything is started: each inherits the descriptor
 * limit of this process, unless its command sets another.
 *
 * @throws BoxFileError if the limit does not suffice; the message says how many descriptors are missing
 */
export function checkInheritedLimit(servers: readonly ServerPlan[]): void {
  const limit = descriptorLimit()
  const server = servers.find(
    ({ shape, command }) =>
      maxConnections(shape) + OWN_DESCRIPTORS > limit && !command.some((word) => SETS_LIMIT.test(word))
  )
  if (server === undefined) return
  const most = maxConnections(server.shape)
  throw new BoxFileError(
    `${server.where}: ${server.name} is to hold ${integer(most)} connections, and its process may have ` +
      `${integer(limit)} descriptors open: at least ${integer(most + OWN_DESCRIPTORS - limit)} are missing; ` +
      'ask for fewer, or raise the limit (ulimit -n)'
  )
}

/**
 * Checks that a listening server can hold the connections of its plan.
 *
 * @throws BoxFileError if its descriptor limit or the local ports do not suffice; the message says how many are missing
 */
export function checkServer({ name, shape, where }: ServerPlan, { pid, host }: { pid: number; host: string }): void {
  const most = maxConnections(shape)
  const { limit, open } = descriptorsOf(pid)
  if (most + open > limit) {
    throw new BoxFileError(
      `${where}: ${name} is to hold ${integer(most)} connections, and its process may have ` +
        `${integer(limit)} descriptors open, ${open} of which it needs itself: ` +
        `${integer(most + open - limit)} are missing; ask for fewer, or raise the limit (ulimit -n)`
    )
  }
  // Clients can connect from every address in 127.0.0.0/8, so ports do not run out.
  if (host.startsWith('127.')) return
  const ports = localPorts()
  if (most > ports) {
    throw new BoxFileError(
      `${where}: ${name} is to hold ${integer(most)} connections, and listens on ${host}, ` +
        `to which one address has ${integer(ports)} ports: ` +
        `${integer(most - ports)} are missing; ask for fewer, or have it listen on 127.0.0.1`
    )
  }
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
