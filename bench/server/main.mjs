/** `npm run bench:server`: {@link ABOUT}. */
import { compare } from '../harness/comparison.mjs'
import { broadcast } from './broadcast.mjs'
import { echo } from './echo.mjs'
import { firstByte } from './first-byte.mjs'
import { memory } from './memory.mjs'
import { requests } from './requests.mjs'
import { storm } from './storm.mjs'
import { table } from './table.mjs'

const ABOUT = `Compares park(), ebb/net and listen() with plain Node in one run: memory, latency, throughput.
  Each server and each client is a process of its own.

  Takes six minutes on two idle cores, and 10,000 descriptors per process. EBB_BENCH_EXEC_ARGV gives the servers
  flags for Node, for instance --cpu-prof.`

/** @type {readonly Part[]} */
const NAMES = ['http-memory', 'tcp-memory', 'first-byte', 'requests', 'storm', 'broadcast', 'echo']

/** @typedef {'http-memory' | 'tcp-memory' | 'first-byte' | 'requests' | 'storm' | 'broadcast' | 'echo'} Part */

const CROWD = 10_000

await compare({
  script: 'bench:server',
  about: ABOUT,
  title: 'ebb beside plain Node',
  names: NAMES,
  table,
  parts: (sized) => ({
    'http-memory': () => memory('http', sized(CROWD), sized(5), 5_000_000),
    'tcp-memory': () => memory('tcp', sized(CROWD), sized(5), 2_500_000),
    'first-byte': () => firstByte(sized(2500)),
    requests: () => requests(sized(5), 5),
    storm: () => storm(sized(CROWD), sized(5)),
    broadcast: () => broadcast(sized(CROWD), sized(10)),
    echo: () => echo(sized(5), 3000)
  })
})
