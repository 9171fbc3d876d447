/** `ebb/memory`: what a process holds, by the kernel and by the runtime, and giving it back. */
export {
  type Governing,
  type GovernOptions,
  type GovernStats,
  govern,
  type Reason,
  type ReleaseMessage
} from './govern.js'
export { Governor, type GovernorOptions } from './governor.js'
export * from './kernel.js'
export * from './process.js'
export { type Release, release } from './release.js'
export { type RuntimeView, runtimeView } from './runtime.js'
