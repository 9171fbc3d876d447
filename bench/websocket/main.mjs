/** `npm run bench:websocket`: {@link ABOUT}. */
import { flag, readCommandLine, selection } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { runParts } from '../harness/parts.mjs'
import { broadcast } from './broadcast.mjs'
import { closing } from './closing.mjs'
import { memory } from './memory.mjs'
import { hot, sparse } from './messages.mjs'
import { table } from './table.mjs'

/** @import { Row } from './table.mjs' */

const ABOUT = `Compares WebSockets of ws with and without ebb/ws in one run: memory, latency, CPU time.
  Each server and each client is a process of its own.

  Takes three minutes on two idle cores, and 10,000 descriptors per process. EBB_BENCH_EXEC_ARGV gives the servers
  flags for Node, for instance --cpu-prof.`

/** @typedef {'memory' | 'deflate' | 'sparse' | 'hot' | 'broadcast' | 'close'} Part */

/** @type {readonly Part[]} */
const NAMES = ['memory', 'deflate', 'sparse', 'hot', 'broadcast', 'close']

const options = readCommandLine({
  script: 'bench:websocket',
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
  memory: () => memory(false, CROWD, CROWD, 900, 2000),
  // 10,000 connections of plain ws take 2.5 GB.
  deflate: () => memory(true, CROWD, sized(1000), 1800, undefined),
  sparse: () => sparse(CROWD, sized(2500), sized(5)),
  hot: () => hot(100, sized(5), 3000),
  broadcast: () => broadcast(CROWD, sized(10)),
  close: () => closing(CROWD)
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
  `ebb/ws beside ws, parts ${names.join(', ')}${options.quick ? ', at a fifth of the size' : ''}.`,
  rows.map(({ figure, reached }) => ({ figure, kept: reached }))
)
