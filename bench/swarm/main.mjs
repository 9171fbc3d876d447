/**
 * `npm run bench:swarm`: how well many machines keep together, and how many a co-ordinator can have. Root, ip (iproute2) and
 * nats-server. Two minutes. Ends with 1 where a figure is not as it must be.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { pulse } from '../../packages/ebb-lab/dist/pulse/pulse.js'
import { Coordinator } from '../../packages/ebb-lab/dist/pulse/swarm/coordinator.js'
import { NatsBus } from '../../packages/ebb-lab/dist/pulse/swarm/nats/bus.js'
import { SwarmOfMachines } from './machines.mjs'
import { missing } from './namespaces.mjs'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '10' },
    connections: { type: 'string', default: '40000' },
    agents: { type: 'string', default: '1000' }
  }
})
const [runs, connections, agents] = [values.runs, values.connections, values.agents].map(Number)
const wrong = []

const reason = missing()
if (reason === undefined) await machines()
else {
  console.error(`skipped, because ${reason}: agents in namespaces`)
  wrong.push(reason)
}
await thousand()
for (const sentence of wrong) console.error(`not reached: ${sentence}`)
process.exit(wrong.length > 0 ? 1 : 0)

/** Four agents in namespaces of their own, a server in a fifth, NATS in the root. */
async function machines() {
  const swarm = new SwarmOfMachines()
  try {
    await swarm.start(3)
    console.log(
      '| run | connected | failed | connects/s | started within, measured | as told by the report | histogram of raw samples |'
    )
    console.log('| ---: | ---: | ---: | ---: | ---: | ---: | --- |')
    for (let run = 1; run <= runs; run++) {
      const { report, samples, spread, sameHistogram } = await swarm.pulse(connections)
      const { connected, failed, connectsPerSecond, swarm: told } = report
      const failures = Object.values(failed).reduce((sum, n) => sum + n, 0)
      const within = `${told.spread.toFixed(1)} ms (± ${told.error.toFixed(1)} ms)`
      console.log(
        `| ${run} | ${connected} | ${failures} | ${Math.round(connectsPerSecond)} | ${spread.toFixed(1)} ms | ${within} | ${sameHistogram ? 'equal' : 'another'}, ${samples} |`
      )
      if (connected !== connections) wrong.push(`run ${run}: ${connected} of ${connections} connected`)
      if (spread > 20) wrong.push(`run ${run}: starts ${spread.toFixed(1)} ms apart`)
      if (!sameHistogram) wrong.push(`run ${run}: the merged histogram is not that of the raw samples`)
    }
  } finally {
    await swarm.dispose()
  }
  console.log('\nNo connection was left after any run, and no process at the end.\n')
}

/** From the first order to the start that it names, with as many agents as are asked for. */
async function thousand() {
  const nats = spawn('nats-server', ['-a', '127.0.0.1', '-p', '-1'], { stdio: ['ignore', 'ignore', 'pipe'] })
  const url = `nats://127.0.0.1:${await said(nats.stderr, /connections on \S+:(\d+)/)}`
  const program = new URL('agents.mjs', import.meta.url).pathname
  const children = Array.from({ length: 2 }, () => spawn(process.execPath, [program, url, String(agents / 2)]))
  await Promise.all(children.map((child) => said(child.stdout, /(ready)/)))
  const bus = await NatsBus.connect({ url })
  const before = performance.now()
  const coordinator = await Coordinator.gather({ bus, swarm: 'thousand', agents })
  console.log(`${agents} agents gathered in ${Math.round(performance.now() - before)} ms`)
  const soon = coordinator.soon.bind(coordinator)
  let at = 0
  coordinator.soon = () => {
    at = soon()
    return at
  }
  let ordered = 0
  let longest = 0
  const plan = { big: connections, iterations: runs, bigSeparation: 0, linger: 0, small: 0 }
  const report = await pulse({ host: '127.0.0.1', port: 9 }, plan, {
    swarm: coordinator,
    onEvent: ({ event, pulse: { index } }) => {
      if (event === 'pulse') ordered = performance.now()
      if (event !== 'connected') return
      const [start, all] = [at - ordered, performance.now() - ordered]
      console.log(
        `pulse ${index + 1}: ${Math.round(start)} ms from order to start, ${Math.round(all)} ms until all had answered`
      )
      longest = Math.max(longest, start)
    }
  })
  const { spread, error, degraded } = report.swarm
  console.log(`started within ${spread.toFixed(1)} ms (± ${error.toFixed(1)} ms)`)
  // The last agent's start counts.
  if (longest + spread > 1000)
    wrong.push(`${agents} agents: ${Math.round(longest + spread)} ms from order to the last start`)
  if (degraded) wrong.push(`${agents} agents: some were lost`)
  await coordinator.end()
  await bus.close()
  for (const child of [...children, nats]) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

async function said(stream, pattern) {
  for await (const line of createInterface(stream)) {
    const match = pattern.exec(line)
    if (match !== null) {
      stream.resume()
      return match[1]
    }
  }
  throw new Error(`ended without ${pattern}`)
}
