/** `node agents.mjs URL N`: N agents without sockets, each with a NATS connection of its own. */
import { Agent, emptyOpened, emptyTraffic, Latencies, NatsBus } from 'ebb-lab/testing'

/** @import { Crowd } from 'ebb-lab/testing' */

const [url = '', n = ''] = process.argv.slice(2)

/**
 * A crowd whose connects succeed at once.
 *
 * @implements {Crowd}
 */
class NoSockets {
  latencies = new Latencies()
  open = 0
  failed = 0

  /** @param {number} n */
  async connect(n) {
    for (let i = 0; i < n; i++) this.latencies.connects.record(0, 0, 1)
    this.open = n
    return { ...emptyOpened(), connected: n }
  }

  async close() {
    this.open = 0
  }

  /** @param {number} n */
  async shrink(n) {
    this.open -= n
  }

  async takeTraffic() {
    return emptyTraffic()
  }

  async takeLost() {
    return {}
  }

  async takeAllLost() {
    return {}
  }

  async dispose() {}
}

for (let i = 0; i < Number(n); i++) {
  const bus = await NatsBus.connect({ url })
  await Agent.start({ bus, swarm: 'thousand', name: `${i}`, crowdOf: async () => new NoSockets() })
}
console.log('ready')
