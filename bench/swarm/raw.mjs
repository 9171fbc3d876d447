/**
 * Loaded before `ebb agent` (`node --import`): writes what its latencies and starts are before anything is made of them, a line each
 * pulse, to a file in `EBB_RAW`. The kernel's monotonic clock is the same in all namespaces of a machine.
 */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from '../../packages/ebb-lab/dist/pulse/client.js'
import { LatencyHistogram } from '../../packages/ebb-lab/dist/pulse/histogram.js'

const { record, encoded } = LatencyHistogram.prototype
const { connect } = Client.prototype
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
  const file = join(process.env.EBB_RAW, `${process.pid}.ndjson`)
  appendFileSync(file, `${JSON.stringify({ began, latencies })}\n`)
  latencies = []
  return encoded.call(this)
}
