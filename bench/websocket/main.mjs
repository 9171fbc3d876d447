/** `npm run bench:websocket`: {@link ABOUT}. */
import { compare } from '../harness/comparison.mjs'
import { broadcast } from './broadcast.mjs'
import { closing } from './closing.mjs'
import { memory } from './memory.mjs'
import { hot, sparse } from './messages.mjs'
import { table } from './table.mjs'

const ABOUT = `Compares WebSockets of ws with and without ebb/ws in one run: memory, latency, CPU time.
  Each server and each client is a process of its own.

  Takes three minutes on two idle cores, and 10,000 descriptors per process. EBB_BENCH_EXEC_ARGV gives the servers
  flags for Node, for instance --cpu-prof.`

/** @typedef {'memory' | 'deflate' | 'sparse' | 'hot' | 'broadcast' | 'close'} Part */

/** @type {readonly Part[]} */
const NAMES = ['memory', 'deflate', 'sparse', 'hot', 'broadcast', 'close']

const CROWD = 10_000

await compare({
  script: 'bench:websocket',
  about: ABOUT,
  title: 'ebb/ws beside ws',
  names: NAMES,
  table,
  parts: (sized) => ({
    memory: () => memory(false, sized(CROWD), sized(CROWD), 900, 2000),
    // 10,000 connections of plain ws take 2.5 GB.
    deflate: () => memory(true, sized(CROWD), sized(1000), 1800, undefined),
    sparse: () => sparse(sized(CROWD), sized(2500), sized(5)),
    hot: () => hot(100, sized(5), 3000),
    broadcast: () => broadcast(sized(CROWD), sized(10)),
    close: () => closing(sized(CROWD))
  })
})
