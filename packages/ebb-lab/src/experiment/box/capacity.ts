/** Whether a box can be: the descriptors and ports that its plans take, against what there is. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { descriptorLimit } from 'ebb/sys'
import { crowdCapacity, MAX_PROCESSES, processesFor } from '../../pulse/crowd.js'
import { maxConnections } from '../../pulse/shapes.js'
import { localPorts } from '../../pulse/sources.js'
import { integer } from '../../units/format.js'
import { BoxFileError, type ServerPlan } from './file.js'

/** Before anything is started. @throws BoxFileError: what is missing */
export function checkClients(servers: readonly ServerPlan[]): void {
  const crowds = servers.map(({ shape }) => maxConnections(shape))
  const processes = crowds.reduce((sum, most) => sum + processesFor(most), 0)
  if (processes <= MAX_PROCESSES) return
  const [largest] = servers.toSorted((a, b) => maxConnections(b.shape) - maxConnections(a.shape))
  const connections = crowds.reduce((sum, most) => sum + most, 0)
  const over = connections - crowdCapacity(MAX_PROCESSES)
  throw new BoxFileError(
    `${largest?.where}: the plans ask for ${integer(connections)} connections; under the descriptor limit of ${integer(descriptorLimit())} they take ` +
      `${processes} processes, ${MAX_PROCESSES} at most: ${over > 0 ? `${integer(over)} connections are` : `${processes - MAX_PROCESSES} processes are`} too many; ` +
      'ask for fewer, or raise the limit (ulimit -n)'
  )
}

/** Before anything is started: to `spawn()` a folder that is not there is a program that is not there. @throws BoxFileError */
export function checkFolders(servers: readonly ServerPlan[]): void {
  const lost = servers.find(({ cwd }) => statSync(cwd, { throwIfNoEntry: false })?.isDirectory() !== true)
  if (lost !== undefined) {
    throw new BoxFileError(`${lost.where}: ${lost.name} is to be started in ${lost.cwd}, which is not a folder`)
  }
}

/** As soon as it listens. @throws BoxFileError: what is missing */
export function checkServer({ name, shape, where }: ServerPlan, { pid, host }: { pid: number; host: string }): void {
  const most = maxConnections(shape)
  const { limit, open } = descriptorsOf(pid)
  if (most + open > limit) {
    throw new BoxFileError(
      `${where}: ${name} is to hold ${integer(most)} connections, and its process may have ${integer(limit)} descriptors open, ${open} of which it needs itself: ` +
        `${integer(most + open - limit)} are missing; ask for fewer, or raise the limit (ulimit -n)`
    )
  }
  // All of 127.0.0.0/8 is there to come from.
  if (host.startsWith('127.')) return
  const ports = localPorts()
  if (most > ports) {
    throw new BoxFileError(
      `${where}: ${name} is to hold ${integer(most)} connections, and listens on ${host}, to which one address has ${integer(ports)} ports: ` +
        `${integer(most - ports)} are missing; ask for fewer, or have it listen on 127.0.0.1`
    )
  }
}

function descriptorsOf(pid: number): { limit: number; open: number } {
  try {
    const limits = readFileSync(`/proc/${pid}/limits`, 'latin1')
    const [, soft = 'unlimited'] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? []
    return {
      limit: soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft),
      open: readdirSync(`/proc/${pid}/fd`).length
    }
  } catch {
    // It has ended, or is another user's: the run will show.
    return { limit: Number.POSITIVE_INFINITY, open: 0 }
  }
}
