/** Agents without sockets, as many as are asked for, each with a NATS connection of its own: `node agents.mjs URL N`. */
import { emptyOpened } from '../../packages/ebb-lab/dist/pulse/client.js'
import { LatencyHistogram } from '../../packages/ebb-lab/dist/pulse/histogram.js'
import { Agent } from '../../packages/ebb-lab/dist/pulse/swarm/agent.js'
import { NatsBus } from '../../packages/ebb-lab/dist/pulse/swarm/nats/bus.js'

const [url, n] = process.argv.slice(2)

/** Every connect succeeds at once. */
class NoSockets {
  latency = new LatencyHistogram()
  open = 0
  failed = 0

  async connect(n) {
    for (let i = 0; i < n; i++) this.latency.record(1)
    this.open = n
    return { ...emptyOpened(), connected: n }
  }

  async close() {
    this.open = 0
  }

  async takeLost() {
    return {}
  }

  async dispose() {}
}

for (let i = 0; i < Number(n); i++) {
  const bus = await NatsBus.connect({ url })
  await Agent.start({ bus, swarm: 'thousand', name: `${i}`, crowdOf: async () => new NoSockets() })
}
console.log('ready')
