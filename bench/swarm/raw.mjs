/**
 * Loaded into `ebb agent` (`node --import`). Writes the start and the latencies of each pulse, before anything is
 * computed from them, as a line of a file in the directory `EBB_RAW`. The monotonic clock of the kernel is the same in
 * all namespaces of a machine.
 */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client, LatencyHistogram } from 'ebb-lab/testing'

/**
 * A line of the file.
 *
 * @typedef {object} Raw
 * @property {string} began monotonic time in ns
 * @property {number[]} latencies ms
 */

const directory = process.env.EBB_RAW ?? '.'
const { record, encoded } = LatencyHistogram.prototype
const { connect } = Client.prototype
/** @type {number[]} */
let latencies = []
let began = ''

Client.prototype.connect = function (...args) {
  began = String(process.hrtime.bigint())
  return connect.apply(this, args)
}

LatencyHistogram.prototype.record = function (ms) {
  latencies.push(ms)
  record.call(this, ms)
}

LatencyHistogram.prototype.encoded = function () {
  /** @type {Raw} */
  const raw = { began, latencies }
  appendFileSync(join(directory, `${process.pid}.ndjson`), `${JSON.stringify(raw)}\n`)
  latencies = []
  return encoded.call(this)
}
