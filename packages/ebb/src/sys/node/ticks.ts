/** `process.nextTick` callbacks and promise reactions, run after a callback that Node does not know of. */

/**
 * Runs the pending `process.nextTick` callbacks and promise reactions.
 *
 * Node does this after each of its own callbacks. Node 26 does not do it after a callback of koffi; Node 20 and 22 do.
 * `process._tickCallback` exists in every version since 0.10 and is free when nothing is pending. If it is missing, an
 * empty immediate has the same effect, but makes about 200 bytes of garbage per call.
 */
export const runTicks: () => void =
  (process as { _tickCallback?: () => void })._tickCallback?.bind(process) ?? (() => void setImmediate(() => {}))
