/** `npm run bench:pulse`: {@link ABOUT}. */
import { start } from 'ebb-lab'
import { Child, endChildren } from '../harness/child.mjs'
import { count, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { C, missing } from '../harness/servers.mjs'
import { pinging } from './crowd.mjs'
import { speaking } from './speaking.mjs'

/** @import { Checked } from '../harness/conclude.mjs' */
/** @import { ClientOrders } from './client.mjs' */

const ABOUT = `Measures the pulse client itself: how fast it connects to a C server, how much CPU time it takes to speak HTTP and
  WebSocket, and how much memory. Peers are autocannon, \`ws\`, and wrk and artillery if they are installed. Takes five
  minutes. The first part needs \`bench/install c\`.`
const ITERATIONS = 3
const TALKER = new URL('programs/talker.mjs', import.meta.url)

const { connections, crowd, rounds } = readCommandLine({
  script: 'bench:pulse',
  about: ABOUT,
  options: {
    connections: count('--connections', 'N', 'Connections of each pulse. Default: 10000.', 10_000),
    rounds: count('--rounds', 'N', 'Rounds in which ebb and its peers take turns. Default: 5.', 5),
    crowd: count('--crowd', 'N', 'Pinging WebSockets of the larger crowd. Default: 100000.', 100_000)
  },
  exit: 'Exit codes: 0, also if a limit is not kept.'
})
/** Anonymous memory (bytes) that a pinging WebSocket may take in the client. */
const MOST_BYTES = 1500
/** WebSockets of one server process, within a limit of 20,000 descriptors. */
const PER_SERVER = 16_000

/** @type {Checked[]} */
const limits = []
try {
  await connects()
  const talker = await Child.start(TALKER, { args: [0] })
  limits.push(...(await speaking(/** @type {number} */ (talker.port), connections, rounds)))
  await talker.end()
  for (const n of new Set([10_000, crowd])) await holds(n)
  conclude('the pulse client, in its own processes; CPU time and memory of the client only.', limits)
} finally {
  await endChildren()
}

/** Connects to a C server, if it is installed. */
async function connects() {
  const absent = missing(C)
  if (absent !== undefined) {
    console.log(`the C server cannot run: ${absent}`)
    return
  }
  const { port, launched } = await start(C.command)
  /** @type {Child<ClientOrders>} */
  const client = await Child.start(new URL('client.mjs', import.meta.url))
  try {
    const { times, aboveRest } = await client.ask('run', port, connections, ITERATIONS)
    console.log(`${connections} connections in ${times.map((ms) => `${ms.toFixed(0)} ms`).join(', ')}`)
    console.log(`at most ${(aboveRest / 1e6).toFixed(1)} MB anonymous over the client's rest`)
  } finally {
    await client.end()
    await launched?.stop()
  }
}

/**
 * Holds `n` pinging WebSockets.
 *
 * @param {number} n
 */
async function holds(n) {
  const first = await Child.start(TALKER, { args: [0] })
  const port = /** @type {number} */ (first.port)
  await first.end()
  const servers = []
  for (let i = 0; i < Math.ceil(n / PER_SERVER); i++) servers.push(await Child.start(TALKER, { args: [port] }))
  const { connected, failed, ms, pings, pongs, processes, aboveRest } = await pinging(port, n)
  for (const server of servers) await server.end()
  const megabytes = (aboveRest / 1e6).toFixed(1)
  console.log(`\n${connected} pinging WebSockets of ${processes} processes, open after ${(ms / 1000).toFixed(1)} s`)
  if (connected < n) console.log(`failed: ${JSON.stringify(failed)}`)
  console.log(`${pings} pings, ${pongs} pongs; at most ${megabytes} MB anonymous over rest`)
  const most = (n * MOST_BYTES) / 1e6
  const kept = connected === n && aboveRest <= n * MOST_BYTES
  limits.push({ figure: `${n} pinging WebSockets in ${most} MB (${megabytes})`, kept })
}
