import { readdirSync, readFileSync } from 'node:fs'

/**
 * Returns the CPU time of a process in us: of all its threads, without those that have ended. The scheduler counts it
 * in nanoseconds, whereas `/proc/PID/stat` has ticks of 10 ms.
 *
 * @param {number} pid
 */
export function cpuOf(pid) {
  const tasks = `/proc/${pid}/task`
  return readdirSync(tasks).reduce((sum, tid) => sum + nanoseconds(`${tasks}/${tid}/schedstat`), 0) / 1000
}

/**
 * Returns the CPU time of a process's main thread in us.
 *
 * @param {number} pid
 */
export function mainThreadCpuOf(pid) {
  return nanoseconds(`/proc/${pid}/schedstat`) / 1000
}

/** @param {string} file */
function nanoseconds(file) {
  return Number(readFileSync(file, 'latin1').split(' ', 1)[0])
}
