/**
 * Loaded into each measured program, after ebb/auto where that is there: tells how long its event loop was held up, and what the
 * governor did. To whoever asks through IPC, and at SIGTERM into the directory of `EBB_BENCH_REPORTS`.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** How often the delay is measured, ms: a timer that comes late says by how much. */
const RESOLUTION = 10
/** What starting the program takes is not counted, ms. */
const START = 500

const { EBB_BENCH_REPORTS: reports } = process.env
const governed = process.execArgv.includes('ebb/auto')
const governing = governed ? (await import('ebb')).govern() : undefined

const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
setTimeout(() => delay.enable(), START).unref()

function report() {
  const late = (ns) => Math.max(0, ns / 1e6 - RESOLUTION)
  return {
    delay: { p99: late(delay.percentile(99)), max: late(delay.max) },
    governor: governing?.stats()
  }
}

const orders = {
  report,
  /** Delays are counted from now on. */
  reset: () => delay.reset()
}

if (process.send) {
  process.on('message', (order) => process.send({ answer: orders[order]?.() ?? null }))
  process.on('disconnect', () => process.exit())
}
process.on('SIGTERM', () => {
  if (reports !== undefined) writeFileSync(join(reports, `${process.pid}.json`), JSON.stringify(report()))
  process.exit()
})
