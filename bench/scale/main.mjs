/** `npm run bench:scale`: {@link ABOUT}. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { count, fail, flag, INTERRUPTED, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { messageOf } from '../harness/errors.mjs'
import { processesFor, tooMuch } from './limits.mjs'
import { measure } from './measure.mjs'
import { page, textTable } from './page.mjs'

/** @import { Option } from '../harness/command-line.mjs' */
/** @import { Row } from './measure.mjs' */

const ABOUT = `Measures how the cost of idle connections grows with their number, up to a million. As many
  server processes hold them (ebb serve --procs), and as many processes connect, as the descriptor limit requires;
  each size has servers of its own.

  The benchmark checks the free memory before each size and ten times a second while it connects, and says what
  stopped it. Takes four minutes on two idle cores. A million connections take 9 GB of the kernel's memory.`

const SIZES = '1k,10k,100k,1M'
const MOST_CONNECTIONS = 10_000_000
/** @type {Readonly<Record<string, number>>} */
const UNITS = { '': 1, k: 1000, M: 1_000_000 }
/** Exit code when a size was not measured whole. */
const INCOMPLETE = 2

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
const size = (/** @type {number} */ n) => n.toLocaleString('en-US')

/** @type {Option<readonly number[]>} */
const sizesOption = {
  argument: 'N,N',
  help: `Connections of each run, for instance 500,20k. Default: ${SIZES}.`,
  read: (text = SIZES) => text.split(',').map(sizeOf)
}

const options = readCommandLine({
  script: 'bench:scale',
  about: ABOUT,
  options: {
    sizes: sizesOption,
    procs: count('--procs', 'N', 'Start at least this many servers. Default: 1.', 1),
    reserve: count('--reserve', 'MB', 'Memory to leave free. Default: 3000.', 3000),
    write: flag('Write bench/SCALE.md and bench/scale.json.'),
    json: flag('Print the figures as JSON.')
  },
  exit:
    'Exit codes: 0; 1 if nothing was measured or a server failed; 2 if connections failed or a size was not tried; ' +
    '130 after Ctrl-C.'
})
const reserve = options.reserve * 1e6
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort())

/** @type {Row[]} */
const rows = []
/** Sentences about what ended the run. */
const stops = []
for (const n of options.sizes) {
  const procs = Math.max(options.procs, processesFor(n))
  const reason = tooMuch(n, procs, reserve, rows.at(-1)?.machineBytes)
  if (reason !== undefined) {
    stops.push(`${size(n)} connections: not tried: ${reason}`)
    break
  }
  try {
    const row = await measure({ n, procs, reserve, signal: interrupted.signal, log: (text) => console.error(text) })
    rows.push(row)
    if (row.stopped !== undefined) {
      stops.push(`${size(n)} connections: stopped at ${size(row.connections)}: ${row.stopped}`)
      break
    }
  } catch (error) {
    if (interrupted.signal.aborted) fail('interrupted', INTERRUPTED)
    fail(process.env.DEBUG && error instanceof Error ? (error.stack ?? error.message) : messageOf(error))
  }
}
if (options.json) console.log(JSON.stringify({ rows, stops }))
else if (rows.length > 0) console.log(textTable(rows))
for (const stop of stops) console.error(stop)
if (rows.length === 0) fail('nothing was measured')
if (options.write) {
  writeFileSync(here('../SCALE.md'), page(rows, stops))
  writeFileSync(
    here('../scale.json'),
    `${JSON.stringify({ date: new Date().toISOString(), node: process.version, rows, stops }, null, 2)}\n`
  )
}
conclude(
  'idle connections between ebb serve and ebb pulse on this machine: ' +
    `${rows.map((row) => size(row.connections)).join(', ')}.`,
  undefined
)
process.exit(stops.length > 0 ? INCOMPLETE : 0)

/** @param {string} text */
function sizeOf(text) {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(text) ?? []
  const n = Number(number) * (UNITS[unit] ?? 1)
  if (!Number.isInteger(n) || n < 1 || n > MOST_CONNECTIONS) {
    throw new Error(`--sizes must be numbers from 1 to 10M such as 1k,10k,1M, not ${JSON.stringify(text)}`)
  }
  return n
}
