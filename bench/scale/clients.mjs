/** The clients of `measure.mjs`, in processes of their own: one pulse, held until its parent says `close`. */
import { pulse } from 'ebb-lab'

const DAY = 24 * 3_600_000
/** Before the first connect, ms: all processes are there, and whoever measures looks at them. */
const LOOK = 500

const closing = new AbortController()
process.on('message', () => closing.abort())
// Whoever measures has ended: so does the crowd.
process.on('disconnect', () => process.exit())
// A Ctrl-C at the terminal reaches every process of the group: the parent decides what follows.
process.on('SIGINT', () => {})

const { port, n, procs } = JSON.parse(process.argv[2])
await pulse(
  { host: '127.0.0.1', port },
  { big: n, iterations: 1, bigSeparation: 0, linger: DAY, pulses: 0 },
  // Longer than a storm of a million can keep one waiting.
  { procs, timeout: 60_000, signal: closing.signal, onEvent: tell }
)
process.disconnect()

function tell(event) {
  process.send(event)
  if (event.event === 'pulse') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK)
}
