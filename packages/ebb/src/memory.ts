/**
 * `ebb/memory`: reads the memory of any process, as the kernel and the runtime see it, and releases memory of this one.
 */

export { ConnectionGovernor, Governor, type GovernorOptions } from './govern/connection-governor.js'
export type { GovernOptions } from './govern/options.js'
export type { Governing, GovernStats, ProcessGovernor } from './govern/process-governor.js'
export type { GovernorStats } from './govern/stats.js'
export { type InsideRelease, type Question, releaseInside } from './inside/answer.js'
export { type AskOptions, askInside } from './inside/ask.js'
export type {
  HeapSpace,
  HeapView,
  Inside,
  InsideCounters,
  MallocView,
  Prediction,
  Runtime,
  ThreadCounts
} from './inside/types.js'
export { inside } from './inside/view.js'
export { type Reason, type Release, type ReleaseMessage, release } from './memory/release.js'
export { type RuntimeView, runtimeView } from './memory/runtime.js'
export {
  findMemoryCgroup,
  foldersUpwards,
  type MemoryCgroup,
  type MemoryCgroupFiles,
  type MemoryCgroupOptions
} from './proc/cgroup.js'
export * from './proc/process.js'
export { ProcessTree } from './proc/process-tree.js'
export { type ListedProcess, listProcesses, processIds } from './proc/processes.js'
export * from './proc/sockstat.js'
export { isRunning, type ProcessStat, readStat } from './proc/stat.js'
export type { Arena, MallocState } from './sys/malloc-info.js'
export type { ServerReport } from './sys/served.js'
