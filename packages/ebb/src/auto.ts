/**
 * `node --import ebb/auto app.js`: a governor with its options from the environment.
 *
 * | variable | option of `govern()` |
 * |---|---|
 * | `EBB_BUDGET` | `budget` |
 * | `EBB_MAX_PAUSE` | `maxPause`: ms, or a time with a unit |
 * | `EBB_WORTH` | `worth`: bytes |
 * | `EBB_EVERY` | `every`: ms, or a time with a unit |
 * | `EBB_PRESSURE` | `pressure`: 1 or 0 |
 * | `EBB_LIMIT` | `limit` |
 * | `EBB_SIGNAL` | `signal` |
 * | `EBB_WORKERS` | `workers`: 1 or 0 |
 * | `EBB_LOG` | `log`: 1 or 0 |
 */
import { isMainThread } from 'node:worker_threads'

// `--import` comes to worker threads, too: the main thread's governor sees to them. Nor is it loaded there: a thread that is ended
// while koffi is loading takes the process with it.
if (isMainThread) (await import('./govern/environment.js')).governFromEnvironment(process.env)
