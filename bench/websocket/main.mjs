/** `npm run bench:websocket`: {@link ABOUT}. */
import { compare } from '../harness/comparison.mjs'
import { broadcast } from './broadcast.mjs'
import { closing } from './closing.mjs'
import { SERVERS } from './list.mjs'
import { deflate, memory } from './memory.mjs'
import { hot, sparse } from './messages.mjs'
import { table } from './table.mjs'

const ABOUT = `Compares WebSocket servers in one run: memory, latency, CPU time. Those of ws and socket.io run with
  and without ebb/ws. Each server and each client is a process of its own. The servers take turns, and the ratios are
  those of servers in the same round.

  A server that is not installed is left out: \`bench/install\` has Bun, Go and eiows. Takes twenty minutes on two idle
  cores, and 10,000 descriptors per process. EBB_BENCH_EXEC_ARGV gives the servers on Node flags, for instance
  --cpu-prof.`

/** @typedef {'memory' | 'deflate' | 'sparse' | 'hot' | 'broadcast' | 'close'} Part */

/** @type {readonly Part[]} */
const NAMES = ['memory', 'deflate', 'sparse', 'hot', 'broadcast', 'close']

const CROWD = 10_000

await compare({
  script: 'bench:websocket',
  about: ABOUT,
  title: 'WebSocket servers',
  names: NAMES,
  servers: SERVERS,
  table,
  parts: (sized, ids) => {
    const servers = SERVERS.filter(({ id }) => ids.includes(id))
    return {
      memory: () => memory(servers, sized(CROWD), sized(5)),
      deflate: () => deflate(servers, sized(CROWD), sized(5)),
      sparse: () => sparse(servers, sized(CROWD), sized(2500), sized(5)),
      hot: () => hot(servers, 100, sized(5), 2000),
      broadcast: () => broadcast(servers, sized(CROWD), sized(10)),
      close: () => closing(servers, sized(CROWD), sized(5))
    }
  }
})
