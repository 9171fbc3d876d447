/** `npm run bench:swarm`: {@link ABOUT}. */
import { count, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { manyAgents } from './many-agents.mjs'
import { missing } from './namespaces.mjs'
import { pulses } from './pulses.mjs'

/** @import { Checked } from '../harness/conclude.mjs' */

const ABOUT = `Measures how closely the agents of a swarm start together, and how many agents a co-ordinator can
  have. Part one runs four agents and a server in network namespaces, which act as five machines. Part two runs a
  thousand agents without sockets.

  Takes two minutes. Needs root, ip (iproute2) and nats-server.`

const { runs, connections, agents } = readCommandLine({
  script: 'bench:swarm',
  about: ABOUT,
  options: {
    runs: count('--runs', 'N', 'Pulses of each part. Default: 10.', 10),
    connections: count('--connections', 'N', 'Connections of each pulse. Default: 40000.', 40_000),
    agents: count('--agents', 'N', 'Agents of part two. Default: 1000.', 1000)
  },
  exit: 'Exit codes: 0; 1 if a limit is not kept, if part one cannot run, or for wrong options.'
})

/** @type {Checked[]} */
const checked = []
const reason = missing()
if (reason === undefined) checked.push(...(await pulses(runs, connections)))
else {
  console.error(`skipped, because ${reason}: agents in namespaces`)
  checked.push({ figure: `agents in namespaces: ${reason}`, kept: false })
}
checked.push(...(await manyAgents(agents, runs, connections)))
conclude(
  `${runs} pulses of ${connections} connections by four agents in network namespaces, and by ${agents} agents without ` +
    'sockets. The four start within 20 ms; the last of the many starts within 1 s of the order.',
  checked
)
process.exit(checked.every(({ kept }) => kept) ? 0 : 1)
