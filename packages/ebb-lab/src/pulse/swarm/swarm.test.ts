/** Agents and a coordinator over the bus of this process. Tests of messages use crowds without sockets. */
import { createServer, type Socket } from 'node:net'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { until } from '../../../../../test/support/sockets.js'
import type { LevelStep } from '../drive.js'
import { LatencyHistogram } from '../histogram.js'
import { load } from '../load.js'
import { emptyOpened } from '../opened.js'
import { type PulseEvent, pulse, succeeded } from '../pulse.js'
import { Agent } from './agent.js'
import type { AgentEvent, AgentOptions, SideRecorder } from './agent-options.js'
import { AllowList } from './allow.js'
import { Coordinator, type SwarmEvent, type SwarmOptions } from './coordinator.js'
import { LocalBus } from './local-bus.js'
import { encode, MAX_MESSAGE, PROTOCOL } from './messages.js'
import { agentSubject, coordinatorSubject, serviceOf } from './subjects.js'
import { FakeCrowd } from './testing/fake-crowd.js'
import { Line } from './testing/line.js'

const PLAN = { big: 120, iterations: 2, bigSeparation: 10, small: 12, smallSeparation: 10, linger: 10, pulses: 2 }
/** A plan that runs until it is stopped. */
const LONG = { big: 60, iterations: 1, small: 0, pulses: 0, linger: 3_600_000 }
const SERVER = { host: '127.0.0.1', port: 9 }

afterEach(() => vi.restoreAllMocks())

async function listening(onSocket: (socket: Socket) => void = () => {}) {
  const sockets = new Set<Socket>()
  let accepted = 0
  const server = createServer((socket) => {
    accepted++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    socket.resume()
    onSocket(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return { server, sockets, accepted: () => accepted, at: { host: '127.0.0.1', port } }
}

interface TestAgent {
  agent: Agent
  line: Line
  events: AgentEvent[]
}

/** Starts agents with the names a, b, c, ... */
async function agents(bus: LocalBus, n: number, options: Partial<AgentOptions> = {}): Promise<TestAgent[]> {
  return await Promise.all(
    Array.from({ length: n }, async (_, i) => {
      const line = new Line(bus)
      const events: AgentEvent[] = []
      const name = String.fromCharCode(97 + i)
      const agent = await Agent.start({
        bus: line,
        swarm: 'test',
        name,
        onEvent: (event) => events.push(event),
        ...options
      })
      onTestFinished(() => agent.leave())
      return { agent, line, events }
    })
  )
}

async function gather(bus: LocalBus | Line, options: Partial<SwarmOptions> = {}) {
  const events: SwarmEvent[] = []
  const coordinator = await Coordinator.gather({
    bus,
    swarm: 'test',
    onEvent: (event) => events.push(event),
    ...options
  })
  onTestFinished(() => coordinator.end())
  return { coordinator, events }
}

/** Shorter times, so that a loss is noticed five times as fast. */
const BEAT = { beat: 100 }
const LEASE = { lease: 600 }

const fake = { crowdOf: async () => new FakeCrowd() }

function freed(events: readonly AgentEvent[]) {
  return events.filter((event) => event.event === 'freed')
}

test('four agents make the pulses of a plan; the report has the totals and the results by agent', async () => {
  const { at, sockets, accepted } = await listening()
  const bus = new LocalBus()
  const four = await agents(bus, 4)
  const { coordinator } = await gather(bus)
  const steps: string[] = []
  const report = await pulse(at, PLAN, {
    swarm: coordinator,
    onEvent: ({ event, pulse: { index } }) => {
      if (event !== 'progress') steps.push(`${index} ${event}`)
    }
  })
  expect(steps).toEqual(
    [0, 1, 2, 3].flatMap((i) => ['pulse', 'connected', 'closing', 'closed'].map((step) => `${i} ${step}`))
  )
  expect(report).toMatchObject({ pulses: 4, connected: 264, failed: {}, lost: {}, abandoned: 0, stopped: null })
  expect(succeeded(report)).toBe(true)
  expect(report.swarm).toMatchObject({ name: 'test', degraded: false })
  expect(report.swarm?.agents.map(({ name, connected, gone }) => [name, connected, gone])).toEqual(
    expect.arrayContaining(['a', 'b', 'c', 'd'].map((name) => [name, 66, null]))
  )
  expect(report.swarm?.spread).toBeGreaterThanOrEqual(0)
  for (const { events } of four) {
    const pulses = events.flatMap((event) => (event.event === 'pulse' ? [event.pulse] : []))
    expect(pulses).toMatchObject(
      [30, 30, 3, 3].map((n, index) => ({ index, n, opened: { connected: n, failed: {} }, lost: {} }))
    )
  }
  expect(accepted()).toBe(264)
  await until(() => sockets.size === 0)
})

test('the merged histogram equals the histogram of all samples', async () => {
  const raw: number[] = []
  const { record } = LatencyHistogram.prototype
  vi.spyOn(LatencyHistogram.prototype, 'record').mockImplementation(function (this: LatencyHistogram, ms: number) {
    raw.push(ms)
    record.call(this, ms)
  })
  const { at } = await listening()
  const bus = new LocalBus()
  await agents(bus, 3)
  const { coordinator } = await gather(bus)
  const { histogram, latency, connected } = await pulse(at, PLAN, { swarm: coordinator })
  expect(raw).toHaveLength(connected)
  const whole = new LatencyHistogram()
  for (const ms of [...raw]) record.call(whole, ms)
  expect(histogram).toBe(whole.encoded())
  expect(latency).toEqual(whole.quantiles())
})

test('shares follow capacities; lost connections and failed connects are reported by agent', async () => {
  const { at } = await listening((socket) => setImmediate(() => socket.destroy()))
  const bus = new LocalBus()
  const [a] = await agents(bus, 1, { most: 100 })
  await agents(bus, 1, { name: 'large', most: 300 })
  const { coordinator } = await gather(bus)
  const report = await pulse(at, { ...PLAN, iterations: 1, pulses: 0, linger: 200 }, { swarm: coordinator })
  expect(report.connected).toBe(120)
  expect(report.swarm?.agents).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ name: 'a', connected: 30, lost: { FIN: 30 } }),
      expect.objectContaining({ name: 'large', connected: 90, lost: { FIN: 90 } })
    ])
  )
  expect(report.lost).toEqual({ FIN: 120 })
  expect(a?.events).toContainEqual(
    expect.objectContaining({ event: 'pulse', pulse: expect.objectContaining({ lost: { FIN: 30 } }) })
  )

  const nobody = await pulse({ host: '127.0.0.1', port: 1 }, PLAN, { swarm: coordinator })
  expect(nobody).toMatchObject({ pulses: 1, failed: { ECONNREFUSED: 120 }, stopped: 'nobody answers' })
  expect(nobody.swarm?.agents.find(({ name }) => name === 'a')?.failed).toEqual({ ECONNREFUSED: 30 })
})

test('agents receive the rate, the payload and the echo option', async () => {
  const { at } = await listening((socket) => socket.pipe(socket))
  const bus = new LocalBus()
  await agents(bus, 2)
  const { coordinator } = await gather(bus)
  const options = { payload: 'hello', active: 0.5, expectEcho: true, rate: 400, close: 'rst' as const }
  const report = await pulse(at, { ...PLAN, iterations: 1, pulses: 0 }, { ...options, swarm: coordinator })
  expect(report).toMatchObject({ connected: 120, echoed: 60, unanswered: {} })
})

test('lost messages are sent again, and no order is executed twice', async () => {
  const { at, accepted, sockets } = await listening()
  const bus = new LocalBus()
  const three = await agents(bus, 3)
  const { coordinator } = await gather(bus, { beat: 200 })
  // Loses the first order of each kind to each agent, and the first answer to it.
  for (const { line } of three) {
    const lost = new Set<string>()
    line.loses = (message) => {
      const [kind] = /"(?:order|answer)":"\w+"/.exec(String(message)) ?? []
      if (kind === undefined || lost.has(kind)) return false
      lost.add(kind)
      return true
    }
  }
  const report = await pulse(at, { ...PLAN, iterations: 1, pulses: 1 }, { swarm: coordinator })
  expect(report).toMatchObject({ pulses: 2, connected: 132, failed: {}, lost: {} })
  expect(report.swarm?.degraded).toBe(false)
  expect(accepted()).toBe(132)
  await until(() => sockets.size === 0)
})

test('an agent that is cut off while it holds is counted as lost and closes by itself; the run goes on', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const three = await agents(bus, 3, LEASE)
  const { coordinator, events } = await gather(bus, BEAT)
  const stop = new AbortController()
  const steps: PulseEvent[] = []
  const running = pulse(
    at,
    { ...LONG, iterations: 2, bigSeparation: 0 },
    {
      swarm: coordinator,
      signal: stop.signal,
      onEvent: (event) => steps.push(event)
    }
  )
  await until(() => sockets.size === 60)
  const [lost] = three as [TestAgent]
  lost.line.cut = true
  await until(() => events.some(({ event }) => event === 'lost'))
  expect(events).toContainEqual({
    event: 'lost',
    agent: 'a',
    why: expect.stringMatching(/^nothing was heard of it for \d\.\d s$/)
  })
  await until(() => freed(lost.events).length > 0)
  expect(freed(lost.events)).toEqual([
    { event: 'freed', why: expect.stringContaining('nothing was heard of'), closed: 20 }
  ])
  await until(() => sockets.size === 40)
  stop.abort()
  const report = await running
  expect(report).toMatchObject({ connected: 60, lost: { EAGENTLOST: 20 }, stopped: 'signal' })
  expect(report.swarm).toMatchObject({ degraded: true })
  expect(report.swarm?.agents.find(({ name }) => name === 'a')).toMatchObject({ lost: { EAGENTLOST: 20 } })
  await until(() => sockets.size === 0)
})

test('the share of an agent that is lost while it connects has failed; the others take it over in the next pulse', async () => {
  const bus = new LocalBus()
  const three = await agents(bus, 3, { crowdOf: async () => new FakeCrowd(900), ...LEASE })
  const { coordinator, events } = await gather(bus, BEAT)
  const report = await pulse(
    SERVER,
    { ...LONG, linger: 0, iterations: 2, bigSeparation: 0 },
    {
      swarm: coordinator,
      onEvent: ({ event, pulse: { index } }) => {
        if (event === 'pulse' && index === 0)
          setTimeout(() => {
            ;(three as [TestAgent])[0].line.cut = true
          }, 300)
      }
    }
  )
  expect(events).toContainEqual(expect.objectContaining({ event: 'lost', agent: 'a' }))
  expect(report).toMatchObject({ pulses: 2, connected: 100, failed: { EAGENTLOST: 20 }, lost: {}, stopped: null })
})

test('an agent that comes back takes part in the next pulse', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const two = await agents(bus, 2, LEASE)
  const { coordinator, events } = await gather(bus, BEAT)
  const report = await pulse(
    at,
    { ...LONG, linger: 1500, iterations: 2, bigSeparation: 0 },
    {
      swarm: coordinator,
      onEvent: ({ event, pulse: { index } }) => {
        const [{ line }] = two as [TestAgent]
        if (event === 'connected' && index === 0) line.cut = true
        if (event === 'closed') line.cut = false
      }
    }
  )
  expect(report).toMatchObject({ pulses: 2, connected: 120, failed: {}, lost: { EAGENTLOST: 30 } })
  expect(events.filter(({ event }) => event === 'joined')).toHaveLength(3)
  expect(report.swarm).toMatchObject({ degraded: true })
  expect(report.swarm?.agents.map(({ connected }) => connected)).toEqual([60, 60])
  await until(() => sockets.size === 0)
})

test('agents take over the shares of agents that are lost during the preparation', async () => {
  const bus = new LocalBus()
  /** Starts an agent that is cut off when it makes its `n`th crowd. */
  const fragile = async (name: string, n: number): Promise<void> => {
    let made = 0
    const [{ line }] = (await agents(bus, 1, {
      ...LEASE,
      name,
      crowdOf: async () => {
        line.cut = ++made === n
        return new FakeCrowd()
      }
    })) as [TestAgent]
  }
  await fragile('first', 1)
  await fragile('second', 2)
  await agents(bus, 1, fake)
  const { coordinator } = await gather(bus, BEAT)
  const report = await pulse(SERVER, { ...LONG, linger: 0 }, { swarm: coordinator })
  expect(report).toMatchObject({ connected: 60, failed: {}, lost: {} })
  expect(report.swarm?.agents.map(({ connected, gone }) => [connected, gone === null]).sort()).toEqual([
    [0, false],
    [0, false],
    [60, true]
  ])
})

test('the run ends when all agents are lost', async () => {
  const bus = new LocalBus()
  const two = await agents(bus, 2, fake)
  const { coordinator } = await gather(bus)
  const report = await pulse(SERVER, LONG, {
    swarm: coordinator,
    onEvent: ({ event }) => {
      if (event === 'connected') for (const { agent } of two) void agent.leave()
    }
  })
  expect(report).toMatchObject({ connected: 60, lost: { EAGENTLOST: 60 } })
  expect(report.swarm?.agents.map(({ gone }) => gone)).toEqual(['it left: it was stopped', 'it left: it was stopped'])
})

test('with strict, the loss of one agent ends the run', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const two = await agents(bus, 2)
  const { coordinator } = await gather(bus, { strict: true })
  const report = await pulse(at, LONG, {
    swarm: coordinator,
    onEvent: ({ event }) => {
      if (event === 'connected') void two[1]?.agent.leave()
    }
  })
  expect(report).toMatchObject({ connected: 60, lost: { EAGENTLOST: 30 }, stopped: 'agents lost' })
  await until(() => sockets.size === 0)
})

test('when the coordinator is gone, agents close everything and the next coordinator gets them', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const two = await agents(bus, 2)
  const line = new Line(bus)
  const { coordinator } = await gather(line, { who: 'ann@there (pid 1)' })
  const stop = new AbortController()
  const running = pulse(at, LONG, { swarm: coordinator, signal: stop.signal })
  await until(() => sockets.size === 60)
  line.cut = true
  // The second coordinator waits until the lease of the first has expired.
  const next = await gather(bus)
  expect(next.coordinator.pulsing).toHaveLength(2)
  expect(sockets.size).toBe(0)
  for (const { events } of two) {
    expect(freed(events)).toEqual([{ event: 'freed', why: expect.stringContaining('ann@there (pid 1)'), closed: 30 }])
  }
  stop.abort()
  expect(await running).toMatchObject({ lost: { EAGENTLOST: 60 } })
})

test('a second coordinator is told who has the swarm, and does not disturb the first', async () => {
  const bus = new LocalBus()
  await agents(bus, 3, fake)
  const { coordinator, events } = await gather(bus, { who: 'ann@there (pid 1)' })
  await expect(gather(bus)).rejects.toThrow('ann@there (pid 1) has swarm test')
  const report = await pulse(SERVER, { ...PLAN, linger: 0 }, { swarm: coordinator })
  expect(report).toMatchObject({ connected: 264, failed: {} })
  expect(events.filter(({ event }) => event !== 'joined')).toEqual([])
  await coordinator.end()
  expect((await gather(bus)).coordinator.pulsing).toHaveLength(3)
})

test('when the coordinator was silent and its agents freed themselves, their connections are lost', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const [a] = (await agents(bus, 1, { lease: 700 })) as [TestAgent]
  const { coordinator, events } = await gather(bus)
  const report = await pulse(
    at,
    { ...LONG, linger: 1500 },
    {
      swarm: coordinator,
      onEvent: ({ event }) => {
        // Heartbeats are lost, orders are not.
        if (event === 'connected') a.line.loses = (message) => String(message).includes('"spread"')
      }
    }
  )
  expect(freed(a.events)).toMatchObject([{ closed: 60 }])
  expect(events).toContainEqual({ event: 'lost', agent: 'a', why: expect.stringContaining('had lost its lease') })
  expect(report).toMatchObject({ connected: 60, lost: { EAGENTLOST: 60 } })
  expect(report.swarm?.degraded).toBe(true)
  await until(() => sockets.size === 0)
})

test('an order to connect that arrives after its cancellation is not executed', async () => {
  const bus = new LocalBus()
  const [a] = (await agents(bus, 1, { crowdOf: async () => new FakeCrowd(3_600_000) })) as [TestAgent]
  const { coordinator } = await gather(bus, BEAT)
  const stop = new AbortController()
  let lost = 0
  a.line.loses = (message) => String(message).includes('"order":"connect"') && lost++ === 0
  const report = await pulse(SERVER, LONG, {
    swarm: coordinator,
    signal: stop.signal,
    onEvent: ({ event }) => {
      if (event === 'pulse') void until(() => lost === 1).then(() => stop.abort())
    }
  })
  expect(report).toMatchObject({ connected: 0, abandoned: 60, stopped: 'signal' })
})

test('a coordinator may end its lease and take a new one at once', async () => {
  const bus = new LocalBus()
  const said: Record<string, unknown>[] = []
  let receive: (message: Uint8Array) => void = () => {}
  const line = new Line(bus)
  line.offer = (service, about, agent) => {
    receive = (message) => agent.receive(message)
    return bus.offer(service, about, agent)
  }
  const agent = await Agent.start({ bus: line, swarm: 'test', name: 'a', ...fake })
  onTestFinished(() => agent.leave())
  const from = 'c'.repeat(32)
  bus.subscribe(coordinatorSubject('test', from), (message) => {
    said.push(JSON.parse(String(message)))
  })
  const order = (seq: number, what: object): void =>
    receive(encode({ v: PROTOCOL, from, lease: 'd'.repeat(32), seq, ...what }))
  order(1, { order: 'lease', who: 'ann' })
  await until(() => said.length === 1)
  // Both orders arrive in the same turn.
  order(2, { order: 'end' })
  order(3, { order: 'lease', who: 'ann' })
  await until(() => said.length === 3)
  order(4, { order: 'lines', first: 0 })
  await until(() => said.length === 4)
  expect(said.map(({ seq, answer, reason }) => [seq, answer, reason])).toEqual([
    [1, 'granted', undefined],
    [2, 'done', undefined],
    [3, 'granted', undefined],
    [4, 'refused', 'it does not record']
  ])
})

test('the end of the lease overtakes an order to close in the future', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const [a] = (await agents(bus, 1, LEASE)) as [TestAgent]
  const { coordinator } = await gather(bus, BEAT)
  const stop = new AbortController()
  const running = pulse(at, LONG, { swarm: coordinator, signal: stop.signal })
  await until(() => sockets.size === 60)
  coordinator.soon = () => performance.now() + 50_000
  stop.abort()
  await until(() => sockets.size === 60)
  await new Promise((resolve) => setTimeout(resolve, 200))
  a.line.cut = true
  await until(() => sockets.size === 0)
  await running
})

test('stops a recording that is being started when the lease ends', async () => {
  const bus = new LocalBus()
  let start: (() => void) | undefined
  let stopped = 0
  const recorder: SideRecorder = {
    port: 80,
    startsServer: true,
    start: async () => {
      await new Promise<void>((resolve) => {
        start = resolve
      })
      const stop = async () => void stopped++
      return { header: {}, now: () => 0, take: () => ({ lines: [], ended: false }), stop }
    }
  }
  const [a] = (await agents(bus, 1, { recorder, ...LEASE })) as [TestAgent]
  const { coordinator } = await gather(bus, BEAT)
  const asked = coordinator.ask(coordinator.recorderOf(80), { order: 'record', connections: 1 })
  await until(() => start !== undefined)
  a.line.cut = true
  expect(await asked).toBeUndefined()
  // Waits until its lease has expired.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  start?.()
  await until(() => freed(a.events).length === 1)
  expect(stopped).toBe(1)
})

test('a run with a coordinator that has ended is rejected', async () => {
  const bus = new LocalBus()
  await agents(bus, 1, fake)
  const { coordinator } = await gather(bus)
  await coordinator.end()
  await expect(pulse(SERVER, LONG, { swarm: coordinator })).rejects.toThrow('no agent makes connections')
})

test('of several coordinators at once, one gets all agents', async () => {
  const bus = new LocalBus()
  await agents(bus, 5, fake)
  const tried = await Promise.allSettled(Array.from({ length: 6 }, (_, i) => gather(bus, { who: `number ${i}` })))
  const won = tried.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  expect(won.map(({ coordinator }) => coordinator.pulsing.length)).toEqual([5])
})

test('reports a swarm without agents, and names agents of another version', async () => {
  const bus = new LocalBus()
  await expect(gather(bus)).rejects.toThrow(/swarm test \(this process\) has no agents: start some/)
  await bus.offer(
    serviceOf('test'),
    { protocol: '0', name: 'grandpa' },
    { subject: (id) => agentSubject('test', id), receive: () => {}, statistics: () => ({}) }
  )
  await expect(gather(bus)).rejects.toThrow(
    new RegExp(`not used: grandpa: it speaks version 0 of the protocol, and this is version ${PROTOCOL}`)
  )
  await agents(bus, 1, fake)
  const { events } = await gather(bus)
  expect(events).toContainEqual({ event: 'refused', agent: 'grandpa', why: expect.stringContaining('version 0') })
})

test('waits for the number of agents that was asked for', async () => {
  const bus = new LocalBus()
  const gathering = gather(bus, { agents: 3 })
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    await agents(bus, 1, { ...fake, name: 'same' })
  }
  const { coordinator } = await gathering
  expect(coordinator.pulsing.map(({ name }) => name).sort()).toEqual(['same', 'same (2)', 'same (3)'])
})

test('rejects more connections than the agents can hold, and begins nothing', async () => {
  const bus = new LocalBus()
  const [{ events }] = (await agents(bus, 1, { ...fake, most: 100 })) as [TestAgent]
  await agents(bus, 1, { ...fake, name: 'z', most: 50 })
  const { coordinator } = await gather(bus)
  await expect(pulse(SERVER, { ...LONG, big: 200 }, { swarm: coordinator })).rejects.toThrow(
    /^200 connections to 127\.0\.0\.1 are 50 more than the 150 that swarm test offers: .*a 100 \(100 descriptors, /
  )
  expect(events.some(({ event }) => event === 'pulse')).toBe(false)
})

test('names the agent that refuses a server that is not allowed', async () => {
  const bus = new LocalBus()
  const [{ events }] = (await agents(bus, 1)) as [TestAgent]
  await agents(bus, 1, { name: 'b', allow: new AllowList(['10.0.0.0/8']) })
  const { coordinator } = await gather(bus)
  await expect(pulse({ host: '10.0.0.1', port: 80 }, PLAN, { swarm: coordinator })).rejects.toThrow(
    /^the agent a refuses: 10\.0\.0\.1:80 is not allowed here: this agent connects to loopback only$/
  )
  expect(events).toContainEqual({ event: 'refused', reason: expect.stringContaining('loopback only') })
})

test.each([
  ['sources', { sources: ['127.0.0.1'] }],
  ['procs', { procs: 2 }]
])('rejects the option %s, which each agent has itself', async (what, options) => {
  const bus = new LocalBus()
  await agents(bus, 1, fake)
  const { coordinator } = await gather(bus)
  await expect(pulse(SERVER, PLAN, { ...options, swarm: coordinator })).rejects.toThrow(`${what} are each agent's own`)
  await expect(pulse({ path: '/run/a' }, PLAN, { swarm: coordinator })).rejects.toThrow(
    'a swarm cannot reach a Unix socket of one machine'
  )
})

test('drops and reports forged, oversized and malformed messages', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const [a] = (await agents(bus, 2)) as [TestAgent]
  const { coordinator, events } = await gather(bus)
  const stop = new AbortController()
  const running = pulse(at, LONG, { swarm: coordinator, signal: stop.signal })
  await until(() => sockets.size === 60)
  const secret = 'f'.repeat(32)
  const toAgent = agentSubject('test', a.agent.id)
  const forged = { v: PROTOCOL, from: coordinator.id, lease: secret, seq: 1000 }
  bus.publish(toAgent, encode({ ...forged, order: 'close', at: 0 }))
  bus.publish(toAgent, encode({ ...forged, order: 'end' }))
  bus.publish(toAgent, encode({ ...forged, v: PROTOCOL + 1, order: 'end' }))
  bus.publish(toAgent, Buffer.from('close!'))
  bus.publish(toAgent, Buffer.alloc(MAX_MESSAGE + 1))
  const toCoordinator = coordinatorSubject('test', coordinator.id)
  const told = { v: PROTOCOL, agent: a.agent.id, lease: secret }
  bus.publish(toCoordinator, encode({ ...told, tell: 'leaving', reason: 'ha' }))
  bus.publish(toCoordinator, encode({ ...told, tell: 'answer', seq: 3, answer: 'done' }))
  bus.publish(toCoordinator, Buffer.from([0xff, 0xfe]))
  bus.publish(toCoordinator, Buffer.alloc(MAX_MESSAGE + 1))
  await until(() => a.events.filter(({ event }) => event === 'dropped').length === 5)
  await until(() => events.filter(({ event }) => event === 'dropped').length === 4)
  expect(a.events.flatMap((event) => (event.event === 'dropped' ? [event.reason] : []))).toEqual([
    'the order close: it is not from the coordinator that holds this agent',
    'the order end: it is not from the coordinator that holds this agent',
    expect.stringContaining(`version ${PROTOCOL + 1}`),
    'an order: it is not JSON',
    expect.stringContaining('bytes are more than')
  ])
  expect(sockets.size).toBe(60)
  stop.abort()
  expect(await running).toMatchObject({ connected: 60, lost: {} })
})

test('reports only some of a flood of forged messages', async () => {
  const bus = new LocalBus()
  await agents(bus, 1, fake)
  const { coordinator, events } = await gather(bus)
  for (let i = 0; i < 2500; i++) bus.publish(coordinatorSubject('test', coordinator.id), Buffer.from('x'))
  await until(() => events.some((event) => event.event === 'dropped' && event.reason.includes('2000 dropped so far')))
  expect(events.filter(({ event }) => event === 'dropped')).toHaveLength(12)
})

test('gives up an agent whose result is not possible', async () => {
  const bus = new LocalBus()
  const lying = new FakeCrowd()
  lying.connect = async (n) => ({ ...emptyOpened(), connected: n + 1 })
  await agents(bus, 1, fake)
  await agents(bus, 1, { name: 'liar', crowdOf: async () => lying })
  const { coordinator, events } = await gather(bus)
  const report = await pulse(SERVER, { ...LONG, linger: 0 }, { swarm: coordinator })
  expect(report).toMatchObject({ connected: 30, failed: { EAGENTLOST: 30 } })
  expect(events).toContainEqual({
    event: 'lost',
    agent: 'liar',
    why: 'its result is not possible: 31 connects in place of 30'
  })
})

test.each(['connecting', 'holding', 'waiting'])('a stop while %s closes and counts all connections', async (phase) => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const three = await agents(bus, 3)
  const { coordinator } = await gather(bus)
  const stop = new AbortController()
  const plan = { ...LONG, iterations: 2, bigSeparation: 3_600_000, linger: phase === 'waiting' ? 0 : 3_600_000 }
  const report = await pulse(at, plan, {
    swarm: coordinator,
    signal: stop.signal,
    ...(phase === 'connecting' && { rate: 30 }),
    onEvent: ({ event }) => {
      const when = { connecting: 'pulse', holding: 'connected', waiting: 'closed' }[phase]
      if (event === when) setTimeout(() => stop.abort(), 400)
    }
  })
  expect(report.stopped).toBe('signal')
  expect(report.connected + report.abandoned).toBe(60)
  if (phase === 'connecting') expect(report.abandoned).toBeGreaterThan(0)
  expect(report.lost).toEqual({})
  await coordinator.end()
  await until(() => sockets.size === 0)
  await until(() => three.every(({ events }) => freed(events).length === 1))
})

test('an agent that leaves closes everything and cannot be discovered any longer', async () => {
  const { at, sockets } = await listening()
  const bus = new LocalBus()
  const [a] = (await agents(bus, 2)) as [TestAgent]
  const { coordinator, events } = await gather(bus)
  const stop = new AbortController()
  const running = pulse(at, LONG, { swarm: coordinator, signal: stop.signal })
  await until(() => sockets.size === 60)
  await a.agent.leave()
  expect(await a.agent.ended).toBeUndefined()
  await until(() => sockets.size === 30)
  expect(events).toContainEqual({ event: 'lost', agent: 'a', why: 'it left: it was stopped' })
  expect(await bus.discover(serviceOf('test'))).toHaveLength(1)
  stop.abort()
  expect(await running).toMatchObject({ lost: { EAGENTLOST: 30 } })
})

test('works with 1,000 agents without sockets', async () => {
  const bus = new LocalBus()
  const many = await Promise.all(
    Array.from({ length: 1000 }, () => Agent.start({ bus, swarm: 'test', name: 'n', ...fake }))
  )
  onTestFinished(async () => {
    await Promise.all(many.map((agent) => agent.leave()))
  })
  const { coordinator } = await gather(bus)
  const report = await pulse(
    SERVER,
    { big: 40_000, iterations: 2, bigSeparation: 0, linger: 0, small: 0 },
    { swarm: coordinator }
  )
  expect(report).toMatchObject({ connected: 80_000, failed: {}, lost: {} })
  expect(report.swarm?.agents).toHaveLength(1000)
  expect(report.swarm?.degraded).toBe(false)
})

test('a shape over a swarm: levels are shared out, connections leave and are replaced', async () => {
  const { at, sockets, accepted } = await listening()
  const bus = new LocalBus()
  await agents(bus, 1, { most: 100 })
  await agents(bus, 1, { name: 'large', most: 300 })
  const { coordinator } = await gather(bus)
  const levels = [40, 120, 60, 100, 0].map((connections, i) => ({ at: i * 700, connections }))
  const steps: LevelStep[] = []
  const report = await load(
    at,
    { shape: 'trace', file: '', levels, offset: 0, jitter: 0, seed: 1 },
    { swarm: coordinator, churn: 50, onLevel: (step) => void steps.push(step) }
  )
  expect(report).toMatchObject({ failed: {}, lost: {}, abandoned: 0, stopped: null })
  expect(steps.every(({ connections, open }) => connections === open)).toBe(true)
  expect(Math.max(...steps.map(({ open }) => open))).toBe(120)
  expect(report.replaced).toBeGreaterThan(0)
  expect(report.connected).toBe(accepted())
  expect(report.connected).toBeGreaterThanOrEqual(120 + report.replaced)
  const [small, large] = ['a', 'large'].map(
    (name) => report.swarm?.agents.find((agent) => agent.name === name)?.connected
  )
  expect((large as number) / (small as number)).toBeGreaterThan(2)
  await until(() => sockets.size === 0)
})
