/** Starts the governor of `ebb/auto`. Imports all that a governor needs. */
import { CgroupLimit } from '../proc/cgroup.js'
import type { Environment } from '../sys/variables.js'
import { readEnvironment, refuseToStart } from './environment.js'
import { checkOptions, type GovernOptions } from './options.js'
import { govern, type ProcessGovernor } from './process-governor.js'

export { noteWorker } from '../memory/workers.js'
export { governFrom } from './process-governor.js'

/**
 * Starts the governor with options from the environment.
 *
 * @returns whether the process may open its inside socket
 */
export function startFromEnvironment(environment: Environment): boolean {
  const read = readEnvironment(environment)
  return read !== undefined && startNow(read.options) && read.inside
}

/**
 * Starts the governor. Where it cannot work (not Linux), emits a process warning `EBB_UNSUPPORTED` and the program runs
 * without it.
 *
 * @returns whether it runs
 */
export function startNow(options: GovernOptions): boolean {
  try {
    const governor = govern(options)
    if (options.log === true) process.stderr.write(`${startLine(options, governor)}\n`)
    return true
  } catch (error) {
    refuseToStart(error as Error)
    return false
  }
}

/** The line of `EBB_LOG=1` that says that the governor runs. */
function startLine(options: GovernOptions, governor: ProcessGovernor): string {
  const { budget, maxPause } = checkOptions(options)
  const { watching } = governor.stats()
  const cgroup = new CgroupLimit()
  const limit = cgroup.limit()
  cgroup.close()
  return [
    `ebb: governor started: budget ${Number((100 * budget).toPrecision(3))} %`,
    `longest pause ${maxPause} ms`,
    limit === undefined ? 'no memory limit' : `memory limit ${(limit / 1e6).toFixed(1)} MB`,
    watching === undefined ? 'no memory pressure' : `memory pressure from ${watching}`
  ].join(', ')
}
