/**
 * `npm run bench:scale`: how the cost of a crowd grows with it: 1,000, 10,000, 100,000 and 1,000,000 idle connections, held by as many
 * processes as the descriptor limit asks for (`ebb serve --procs`, and as many that connect), each size with servers of its own.
 *
 * It looks before each size, and ten times a second while it connects, at what the machine has left, and says what stopped it. Takes
 * two cores that have nothing else to do, and four minutes; a million connections take 9 GB of the kernel's memory.
 *
 *   --sizes N,N     other sizes: 500, 20k, 1M
 *   --procs N       at least so many servers
 *   --reserve MB    memory to leave free (3000)
 *   --write         write bench/SCALE.md and bench/scale.json
 *   --json          print the figures as JSON
 *
 * Ends with 1 when something could not be measured, with 2 when connections failed, with 130 after Ctrl-C.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { processesFor, tooMuch } from './limits.mjs'
import { measure } from './measure.mjs'
import { page, textTable } from './page.mjs'

const HELP = `npm run bench:scale -- [options]

  --sizes N,N     connections of each run (1k,10k,100k,1M)
  --procs N       at least so many servers
  --reserve MB    memory to leave free (3000)
  --write         write bench/SCALE.md and bench/scale.json
  --json          print the figures as JSON
  --help`

const SIZES = '1k,10k,100k,1M'
const UNITS = { '': 1, k: 1000, M: 1_000_000 }

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const options = read()
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort())

const rows = []
/** Why it went no further, or a size is not whole. */
const stops = []
for (const n of options.sizes) {
  const procs = Math.max(options.procs, processesFor(n))
  const reason = tooMuch(n, procs, options.reserve, rows.at(-1)?.machineBytes)
  if (reason !== undefined) {
    stops.push(`${n.toLocaleString('en-US')} connections: not tried: ${reason}`)
    break
  }
  try {
    const row = await measure(n, procs, options.reserve, interrupted.signal, (text) => console.error(text))
    rows.push(row)
    if (row.stopped !== undefined) {
      stops.push(
        `${n.toLocaleString('en-US')} connections: stopped at ${row.connections.toLocaleString('en-US')}: ${row.stopped}`
      )
      break
    }
  } catch (error) {
    if (interrupted.signal.aborted) end(130, 'interrupted')
    end(1, process.env.DEBUG ? error.stack : error.message)
  }
}
if (options.json) console.log(JSON.stringify({ rows, stops }))
else if (rows.length > 0) console.log(textTable(rows))
for (const stop of stops) console.error(stop)
if (rows.length === 0) end(1, 'nothing was measured')
if (options.write) {
  writeFileSync(here('../SCALE.md'), page(rows, stops))
  writeFileSync(
    here('../scale.json'),
    `${JSON.stringify({ date: new Date().toISOString(), node: process.version, rows, stops }, null, 2)}\n`
  )
}
process.exit(stops.length > 0 ? 2 : 0)

function read() {
  try {
    const { values } = parseArgs({
      options: {
        sizes: { type: 'string', default: SIZES },
        procs: { type: 'string', default: '1' },
        reserve: { type: 'string', default: '3000' },
        write: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false }
      }
    })
    if (values.help) {
      console.log(HELP)
      process.exit(0)
    }
    return {
      ...values,
      sizes: values.sizes.split(',').map(sizeOf),
      procs: whole('--procs', values.procs),
      reserve: whole('--reserve', values.reserve) * 1e6
    }
  } catch (error) {
    return end(1, error.message)
  }
}

function sizeOf(text) {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(text) ?? []
  const n = Number(number) * UNITS[unit ?? '']
  if (!Number.isInteger(n) || n < 1 || n > 10_000_000) {
    throw new Error(`--sizes is a list of numbers from 1 to 10M, as 1k,10k,1M; ${JSON.stringify(text)} is none`)
  }
  return n
}

function whole(name, text) {
  const n = Number(text)
  if (!Number.isInteger(n) || n < 1) throw new Error(`${name} is a whole number from 1, not ${text}`)
  return n
}

function end(code, text) {
  console.error(text)
  process.exit(code)
}
