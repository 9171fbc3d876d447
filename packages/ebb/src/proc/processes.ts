/** Lists the processes of this machine. */
import fs from 'node:fs'
import { type ProcessStat, readStat } from './stat.js'

/** A process of a listing: its `/proc/PID/stat` at the time of the listing. */
export interface ListedProcess extends ProcessStat {
  /** Process id. */
  pid: number
}

/** Returns the ids of all processes that this user can see in `/proc`. A process may end before you look at it. */
export function processIds(): number[] {
  const pids: number[] = []
  for (const name of fs.readdirSync('/proc')) {
    const pid = Number(name)
    if (Number.isSafeInteger(pid)) pids.push(pid)
  }
  return pids
}

/**
 * Returns all processes that this user can see, zombies included: see {@link isRunning}. Skips those that end
 * meanwhile.
 */
export function listProcesses(): ListedProcess[] {
  return processIds().flatMap((pid) => {
    try {
      return { pid, ...readStat(pid) }
    } catch {
      return []
    }
  })
}
