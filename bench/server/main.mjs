/**
 * `npm run bench:server`: `park()`, `ebb/net` and `listen()` beside plain Node, in one run: memory, latency, throughput.
 *
 * Each server and each client is a process of its own: see programs/. Takes two cores that have nothing else to do, four minutes,
 * and 10,000 descriptors a process. `--quick`: a fifth of the sizes and rounds, with the aims of the whole. `--only NAME[,NAME]`:
 * some of the parts. `EBB_BENCH_EXEC_ARGV`: flags of Node for the servers (`--cpu-prof`), to look inside one.
 */
import { parseArgs } from 'node:util'
import { endChildren } from '../harness/child.mjs'
import { table } from '../harness/table.mjs'
import { broadcast } from './broadcast.mjs'
import { echo } from './echo.mjs'
import { firstByte } from './first-byte.mjs'
import { memory } from './memory.mjs'
import { requests } from './requests.mjs'
import { storm } from './storm.mjs'

const { values } = parseArgs({ options: { quick: { type: 'boolean' }, only: { type: 'string' } } })

/** Sizes, numbers of rounds and times, for a quick run a fifth of them. */
const sized = (size) => (values.quick ? Math.ceil(size / 5) : size)
const CROWD = sized(10_000)

/** Each resolves with its rows of the table. The aims are those of the issue; bytes. */
const PARTS = {
  'http-memory': () => memory('http', CROWD, 5_000_000),
  'tcp-memory': () => memory('tcp', CROWD, 2_500_000),
  'first-byte': () => firstByte(sized(2500)),
  requests: () => requests(sized(5), 5),
  storm: () => storm(CROWD, sized(3)),
  broadcast: () => broadcast(CROWD, sized(10)),
  echo: () => echo(sized(5), 3000)
}

const names = values.only?.split(',') ?? Object.keys(PARTS)
const unknown = names.filter((name) => !(name in PARTS))
if (unknown.length > 0) {
  console.error(`no such part: ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`)
  process.exit(1)
}

const rows = []
for (const name of names) {
  console.error(name)
  try {
    rows.push(...(await PARTS[name]()))
  } catch (error) {
    // The other figures are worth having all the same.
    console.error(error)
    rows.push({ figure: name, aim: 'to be measured', notes: [`failed: ${error.message.split('\n', 1)[0]}`] })
  } finally {
    await endChildren()
  }
}
console.log(`Node ${process.version.slice(1)}`)
console.log(table(rows))
