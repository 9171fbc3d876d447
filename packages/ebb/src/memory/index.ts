/** `ebb/memory`: what a process holds, by the kernel and by the runtime, and giving it back. */
export type { Governing, GovernOptions, GovernStats, Reason, ReleaseMessage } from './govern.js'
export { Governor, type GovernorOptions } from './governor.js'
export * from './kernel.js'
export * from './process.js'
export { ProcessTree } from './process-tree.js'
export { type Release, release } from './release.js'
export { type RuntimeView, runtimeView } from './runtime.js'
