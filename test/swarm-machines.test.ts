/** Agents in network namespaces, which stand for machines, as in `npm run bench:swarm`. */
import { join } from 'node:path'
import type { PulseReport } from 'ebb-lab'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ROOT } from './support/cli.js'
import { noNats } from './support/nats.js'
import { until } from './support/sockets.js'

interface Machines {
  start(processes: number): Promise<void>
  connect(machine: number, connected: boolean): void
  readonly established: number
  pulse(
    n: number,
    options?: { linger?: string; expected?: number[]; onConnected?: () => void }
  ): Promise<{ report: PulseReport; samples: number; spread: number; sameHistogram: boolean }>
  dispose(): Promise<void>
}

const { SwarmOfMachines } = (await import(join(ROOT, 'bench/swarm/machines.mjs'))) as {
  SwarmOfMachines: new () => Machines
}
const { missing } = (await import(join(ROOT, 'bench/swarm/namespaces.mjs'))) as { missing(): string | undefined }

const absent = noNats ?? missing()
if (absent !== undefined) console.warn(`skipped, because ${absent}: agents in network namespaces`)

async function machines(processes: number): Promise<Machines> {
  const swarm = new SwarmOfMachines()
  onTestFinished(() => swarm.dispose())
  await swarm.start(processes)
  return swarm
}

describe.skipIf(absent !== undefined)('four machines with agents and a fifth with the server', () => {
  test('counts 40,000 connections of a pulse exactly, and leaves nothing behind', { timeout: 240_000 }, async () => {
    const swarm = await machines(3)
    for (let run = 0; run < 2; run++) {
      const { report, samples, sameHistogram } = await swarm.pulse(40_000)
      expect(report).toMatchObject({ connected: 40_000, failed: {}, lost: {}, stopped: null })
      expect(report.swarm).toMatchObject({ degraded: false })
      expect(report.swarm?.agents.map(({ connected }) => connected)).toEqual([10_000, 10_000, 10_000, 10_000])
      expect(samples).toBe(40_000)
      expect(sameHistogram).toBe(true)
    }
  })

  test('a machine whose cable is pulled out is lost, closes everything by itself, and comes back', {
    timeout: 240_000
  }, async () => {
    const swarm = await machines(1)
    let connected = false
    const onConnected = (): void => {
      connected = true
    }
    const pulsing = swarm.pulse(400, { linger: '6s', expected: [4], onConnected })
    // Also waits for the reports of the agents. Connections that are not reported yet count as failed, not as lost.
    await until(() => connected && swarm.established === 800)
    swarm.connect(1, false)
    const timer = setTimeout(() => swarm.connect(1, true), 7000)
    const { report } = await pulsing
    clearTimeout(timer)
    swarm.connect(1, true)
    expect(report).toMatchObject({ connected: 400, lost: { EAGENTLOST: 100 } })
    expect(report.swarm?.agents.filter(({ gone }) => gone !== null)).toMatchObject([
      { name: 'machine 1', lost: { EAGENTLOST: 100 }, gone: expect.stringContaining('nothing was heard of it') }
    ])
    const again = await swarm.pulse(400)
    expect(again.report).toMatchObject({ connected: 400, failed: {} })
    expect(again.report.swarm?.agents).toHaveLength(4)
  })
})
