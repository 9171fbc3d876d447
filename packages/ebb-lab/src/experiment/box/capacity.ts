/** Checks that this machine has the descriptors, ports and folders that a box needs. */
import { statSync } from 'node:fs'
import { descriptorLimit } from 'ebb/sys'
import { crowdCapacity, MAX_PROCESSES, processesFor } from '../../pulse/crowd.js'
import { maxConnections } from '../../pulse/shapes.js'
import { localPorts } from '../../pulse/sources.js'
import { integer } from '../../units/format.js'
import { lackOfInherited, lackOfRunning } from '../capacity.js'
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

/**
 * Checks that servers can hold the connections of their plans, before anything is started: each inherits the descriptor
 * limit of this process, unless its command sets another.
 *
 * @throws BoxFileError if the limit does not suffice; the message says how many descriptors are missing
 */
export function checkInheritedLimit(servers: readonly ServerPlan[]): void {
  for (const { name, shape, command, where } of servers) {
    const lack = lackOfInherited(name, maxConnections(shape), command)
    if (lack !== undefined) throw new BoxFileError(`${where}: ${lack}`)
  }
}

/**
 * Checks that a listening server can hold the connections of its plan.
 *
 * @throws BoxFileError if its descriptor limit or the local ports do not suffice; the message says how many are missing
 */
export function checkServer({ name, shape, where }: ServerPlan, { pid, host }: { pid: number; host: string }): void {
  const most = maxConnections(shape)
  const lack = lackOfRunning(name, most, pid)
  if (lack !== undefined) throw new BoxFileError(`${where}: ${lack}`)
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
