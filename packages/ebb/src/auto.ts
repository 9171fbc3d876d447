/**
 * `ebb/auto`: starts a process governor with options from the environment, in a program that need not know of it.
 *
 * ```sh
 * node --import ebb/auto app.js
 * node -r ebb/auto app.js
 * NODE_OPTIONS='--import ebb/auto' npm start
 * ```
 *
 * | variable | option of `govern()` | value | default |
 * |---|---|---|---|
 * | `EBB_BUDGET` | `budget` | share of CPU time, above 0 and at most 1 | 0.01 |
 * | `EBB_MAX_PAUSE` | `maxPause` | ms, or a time with a unit such as `20ms` | 50 |
 * | `EBB_WORTH` | `worth` | bytes | 1000000 |
 * | `EBB_EVERY` | `every` | ms, or a time with a unit such as `2s` | 1000 |
 * | `EBB_PRESSURE` | `pressure` | 1 or 0 | 1 |
 * | `EBB_LIMIT` | `limit` | share of the cgroup's limit, 0 to 1 | 0.9 |
 * | `EBB_SIGNAL` | `signal` | name of a signal such as `SIGWINCH` | none |
 * | `EBB_WORKERS` | `workers` | 1 or 0 | 1 |
 * | `EBB_LOG` | `log` | 1 or 0 | 0 |
 * | `EBB_INSIDE` | none: whether the process answers `ebb doctor` and `ebb top` at its inside socket | 1 or 0 | 1 |
 *
 * An invalid value ends the process with exit code 1.
 */
import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import { governFromEnvironment } from './govern/deferred-governor.js'
import type * as Start from './govern/start.js'
import { collectWhenAsked } from './memory/worker-agent.js'
import { timers } from './sys/timers.js'

/** Milliseconds until the inside socket is opened. */
const OPEN_AFTER = 500

// Worker threads load this file, too. The main thread's governor asks them to collect. They must not load the governor
// itself: a worker thread that ends while koffi is being loaded takes the whole process with it. `require` and not
// `await import`, because a module with a top-level await cannot be loaded by `node -r`.
if (isMainThread) {
  const load = governorLoader()
  if (load !== undefined) openInsideIf(governFromEnvironment(process.env, load))
  else
    void import('./govern/start.js').then(({ startFromEnvironment }) => openInsideIf(startFromEnvironment(process.env)))
} else if (!('Bun' in globalThis || 'Deno' in globalThis)) {
  collectWhenAsked()
}

/** Opens the inside socket of a process that has a governor, soon: no program starts later because of it. */
function openInsideIf(mayOpen: boolean): void {
  if (!mayOpen) return
  const open = () => void import('./inside/start.js').then(({ openInside }) => openInside(), nothing)
  timers.setTimeout(open, OPEN_AFTER).unref()
}

/** A process whose inside socket cannot be loaded goes on without it. */
function nothing(): void {}

/**
 * Returns what loads the governor; undefined where only `import()` finds it: in a bundle, where it has no file of its
 * own, and if Node may not require ES modules (`--no-experimental-require-module`).
 */
function governorLoader(): (() => typeof Start) | undefined {
  if (!(process.features as { require_module?: boolean }).require_module) return undefined
  try {
    const require = createRequire(import.meta.url)
    const path = require.resolve('./govern/start.js')
    return () => require(path) as typeof Start
  } catch {
    return undefined
  }
}
