/** `npm run bench:server`: {@link ABOUT}. */
import { flag, readCommandLine, selection } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { runParts } from '../harness/parts.mjs'
import { broadcast } from './broadcast.mjs'
import { echo } from './echo.mjs'
import { firstByte } from './first-byte.mjs'
import { memory } from './memory.mjs'
import { requests } from './requests.mjs'
import { storm } from './storm.mjs'
import { table } from './table.mjs'

/** @import { Row } from './table.mjs' */

const ABOUT = `Compares park(), ebb/net and listen() with plain Node in one run: memory, latency, throughput.
  Each server and each client is a process of its own.

  Takes four minutes on two idle cores, and 10,000 descriptors per process. EBB_BENCH_EXEC_ARGV gives the servers
  flags for Node, for instance --cpu-prof.`

/** @type {readonly Part[]} */
const NAMES = ['http-memory', 'tcp-memory', 'first-byte', 'requests', 'storm', 'broadcast', 'echo']

/** @typedef {'http-memory' | 'tcp-memory' | 'first-byte' | 'requests' | 'storm' | 'broadcast' | 'echo'} Part */

const options = readCommandLine({
  script: 'bench:server',
  about: ABOUT,
  options: {
    quick: flag('Use a fifth of the sizes and rounds, with the same aims.'),
    only: selection('NAME,NAME', `Run some of the parts: ${NAMES.join(', ')}.`, 'part', NAMES)
  },
  exit: 'Exit codes: 0, also if an aim is not reached or a part fails; 1 for wrong options.'
})

const sized = (/** @type {number} */ size) => (options.quick ? Math.ceil(size / 5) : size)
const CROWD = sized(10_000)

/** @type {Readonly<Record<Part, () => Promise<Row[]>>>} */
const PARTS = {
  'http-memory': () => memory('http', CROWD, 5_000_000),
  'tcp-memory': () => memory('tcp', CROWD, 2_500_000),
  'first-byte': () => firstByte(sized(2500)),
  requests: () => requests(sized(5), 5),
  storm: () => storm(CROWD, sized(3)),
  broadcast: () => broadcast(CROWD, sized(10)),
  echo: () => echo(sized(5), 3000)
}

const names = options.only ?? NAMES
/** @type {Row[]} */
const rows = await runParts(names, PARTS, (name, note) => ({
  figure: name,
  aim: 'to be measured',
  reached: false,
  notes: [note]
}))
console.log(`Node ${process.version.slice(1)}`)
console.log(table(rows))
conclude(
  `ebb beside plain Node, parts ${names.join(', ')}${options.quick ? ', at a fifth of the size' : ''}.`,
  rows.map(({ figure, reached }) => ({ figure, kept: reached }))
)
