/** `npm run bench:pulse`: {@link ABOUT}. */
import { start } from 'ebb-lab'
import { Child, endChildren } from '../harness/child.mjs'
import { count, fail, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { C, missing } from '../harness/servers.mjs'

/** @import { ClientOrders } from './client.mjs' */

const ABOUT = `Measures the pulse client itself: how fast it connects to a C server, and how much memory it takes.
  Takes ten seconds, and needs \`bench/install c\`.`
const ITERATIONS = 3

const { connections } = readCommandLine({
  script: 'bench:pulse',
  about: ABOUT,
  options: { connections: count('--connections', 'N', 'Connections of each pulse. Default: 10000.', 10_000) },
  exit: 'Exit codes: 0; 1 if the C server is missing.'
})

const absent = missing(C)
if (absent !== undefined) fail(`bench:pulse: the C server cannot run: ${absent}`)
const { port, launched } = await start(C.command)
try {
  /** @type {Child<ClientOrders>} */
  const client = await Child.start(new URL('client.mjs', import.meta.url))
  const { times, aboveRest } = await client.ask('run', port, connections, ITERATIONS)
  console.log(`${connections} connections in ${times.map((ms) => `${ms.toFixed(0)} ms`).join(', ')}`)
  console.log(`at most ${(aboveRest / 1e6).toFixed(1)} MB anonymous over the client's rest`)
  conclude(`the pulse client against a C server, ${ITERATIONS} pulses of ${connections} connections.`, undefined)
} finally {
  await endChildren()
  await launched?.stop()
}
