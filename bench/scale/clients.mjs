/**
 * The clients of `measure.mjs`, in processes of their own: one pulse, which they hold until the parent sends a
 * message.
 */
import { pulse } from 'ebb-lab'

/** @import { PulseEvent } from 'ebb-lab' */

/**
 * The argument of this program, as JSON.
 *
 * @typedef {object} ClientArguments
 * @property {number} port
 * @property {number} n connections
 * @property {number} procs processes that connect
 */

const DAY = 24 * 3_600_000
/** Milliseconds before the first connect, in which the parent measures the processes at rest. */
const REST = 500
/** Milliseconds that a connect may take. A storm of a million connects keeps some of them waiting. */
const CONNECT_TIMEOUT = 60_000

const closing = new AbortController()
process.on('message', () => closing.abort())
// The parent has ended.
process.on('disconnect', () => process.exit())
// Ctrl-C at a terminal reaches every process of the group; the parent decides what to do.
process.on('SIGINT', () => {})

const { port, n, procs } = /** @type {ClientArguments} */ (JSON.parse(process.argv[2] ?? ''))
await pulse(
  { host: '127.0.0.1', port },
  { big: n, iterations: 1, bigSeparation: 0, linger: DAY, pulses: 0 },
  { procs, timeout: CONNECT_TIMEOUT, signal: closing.signal, onEvent: send }
)
process.disconnect()

/** @param {PulseEvent} event */
function send(event) {
  process.send?.(event)
  if (event.event === 'pulse') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, REST)
}
