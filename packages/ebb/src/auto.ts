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
import type * as Environment from './govern/environment.js'
import { collectWhenAsked } from './memory/worker-agent.js'

// Worker threads load this file, too. The main thread's governor asks them to collect. They must not load the governor
// itself: a worker thread that ends while koffi is being loaded takes the whole process with it. `require` and not
// `await import`, because a module with a top-level await cannot be loaded by `node -r`.
if (isMainThread) {
  const environment = requireEnvironment()
  if (environment !== undefined) start(environment)
  else void import('./govern/environment.js').then(start)
} else if (!('Bun' in globalThis || 'Deno' in globalThis)) {
  collectWhenAsked()
}

/** Milliseconds until the inside socket is opened: no program starts later because of it. */
const OPEN_AFTER = 500

function start({ governFromEnvironment }: typeof Environment): void {
  if (!governFromEnvironment(process.env)) return
  setTimeout(() => void import('./inside/start.js').then(({ openInside }) => openInside(), nothing), OPEN_AFTER).unref()
}

/** A process whose inside socket cannot be loaded goes on without it. */
function nothing(): void {}

/** Loads the governor at once; undefined in a bundle, where it is no file of its own: there `import()` finds it. */
function requireEnvironment(): typeof Environment | undefined {
  try {
    return createRequire(import.meta.url)('./govern/environment.js') as typeof Environment
  } catch {
    return undefined
  }
}
