/**
 * Loaded into each measured program (`node --import`), after `ebb/auto` if the program has it. It measures the delay of
 * the event loop and asks the governor for its figures. It answers orders through IPC, and writes its report into the
 * directory of `EBB_BENCH_REPORTS` at SIGTERM.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'

/** Milliseconds between two timers of the monitor. The delay is how late a timer fires. */
const RESOLUTION = 10
/** Milliseconds after the start in which delays are not counted. */
const START = 500

/** @typedef {import('ebb').GovernorStats} Governor */

/**
 * @typedef {object} ProbeReport
 * @property {{ p99: number, max: number }} delay of the event loop, ms
 * @property {Governor} [governor] undefined without `ebb/auto`
 */

/** @typedef {typeof orders} ProbeOrders */

const { EBB_BENCH_REPORTS: directory } = process.env
const governed = process.execArgv.includes('ebb/auto')
const governor = governed ? (await import('ebb')).govern() : undefined

const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
setTimeout(() => delay.enable(), START).unref()

const orders = {
  /** @returns {ProbeReport} */
  report: () => {
    const late = (/** @type {number} */ ns) => Math.max(0, ns / 1e6 - RESOLUTION)
    return {
      delay: { p99: late(delay.percentile(99)), max: late(delay.max) },
      ...(governor !== undefined && { governor: governor.stats() })
    }
  },
  /** Counts delays from now on. */
  reset: () => delay.reset()
}

if (process.send) {
  process.on('message', (order) => {
    const answer = order === 'report' ? orders.report() : order === 'reset' ? orders.reset() : undefined
    process.send?.({ answer: answer ?? null })
  })
  process.on('disconnect', () => process.exit())
}
process.on('SIGTERM', () => {
  if (directory !== undefined) {
    writeFileSync(join(directory, `${process.pid}.json`), JSON.stringify(orders.report()))
  }
  process.exit()
})
