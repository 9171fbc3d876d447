/** Recordings by an agent over the bus of this process, of a real server and of a scripted one. */
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { server } from '../../../../test/support/cli.js'
import { directory, until } from '../../../../test/support/sockets.js'
import { Agent } from '../pulse/swarm/agent.js'
import type { SideRecorder, SideRecording } from '../pulse/swarm/agent-options.js'
import { Coordinator } from '../pulse/swarm/coordinator.js'
import { LocalBus } from '../pulse/swarm/local-bus.js'
import { Line } from '../pulse/swarm/testing/line.js'
import { readRecording } from '../record/read.js'
import type { Sample } from '../record/recording.js'
import { synthetic } from '../report/testing/synthetic.js'
import { RemoteRecorder } from './remote-recorder.js'
import { sideRecorder } from './side-recorder.js'

async function beside(recorder: SideRecorder): Promise<{ coordinator: Coordinator; agent: Agent; line: Line }> {
  const bus = new LocalBus()
  const line = new Line(bus)
  const agent = await Agent.start({ bus: line, swarm: 'test', name: 'beside', recorder, lease: 600 })
  onTestFinished(() => agent.leave())
  const coordinator = await Coordinator.gather({ bus, swarm: 'test', beat: 100 })
  onTestFinished(() => coordinator.end())
  return { coordinator, agent, line }
}

/** A recorder that returns the lines that the test gives it. */
class Scripted implements SideRecorder {
  readonly port = 80
  readonly startsServer = false
  readonly #header: unknown
  lines: unknown[] = []
  ended = false
  asked: number[] = []
  #start = 0

  constructor(header: unknown = synthetic().header) {
    this.#header = header
  }

  async start(): Promise<SideRecording> {
    this.#start = performance.now()
    return {
      header: this.#header,
      now: () => this.now(),
      take: (first) => {
        this.asked.push(first)
        return { lines: this.lines.slice(first, first + 20), ended: this.ended && this.lines.length <= first + 20 }
      },
      stop: async () => {}
    }
  }

  now(): number {
    return performance.now() - this.#start
  }

  sample(t = this.now()): void {
    this.lines.push({ ...(synthetic().samples[0] as Sample), t })
  }
}

test('writes samples and events in one order, in memory and in a file', async () => {
  const held = await server()
  const { coordinator } = await beside(sideRecorder(held.port))
  const out = join(directory(), 'it.ndjson')
  const recorder = await RemoteRecorder.start(coordinator, {
    port: held.port,
    name: 'it',
    role: 'main',
    connections: 1,
    out
  })
  let told = 0
  recorder.on('sample', () => told++)
  await until(() => told > 3)
  recorder.mark({ event: 'pulse', index: 0, size: 'big', n: 1 })
  await until(() => told > 6)
  recorder.mark({ event: 'closing', index: 0 })
  const recording = await recorder.stop()
  expect(recording).toMatchObject({
    complete: true,
    header: { name: 'it', role: 'main', pid: held.pid, runtime: { name: 'node' } }
  })
  expect(recording.samples.every(({ anonymous }) => anonymous > 0)).toBe(true)
  expect(recording.events.map(({ event }) => event).filter((event) => event !== 'note')).toEqual([
    'pulse',
    'closing',
    'end'
  ])
  const { notes, ...file } = await readRecording(out)
  expect(notes).toEqual([])
  expect(file).toEqual({
    header: recording.header,
    samples: recording.samples,
    events: recording.events,
    complete: true
  })
  // Events stand among the samples of their time.
  const [pulse] = recording.events.filter(({ event }) => event === 'pulse')
  expect(recording.samples.some(({ t }) => t < (pulse?.t as number))).toBe(true)
  expect(recording.samples.some(({ t }) => t > (pulse?.t as number))).toBe(true)
  expect(recorder.mark({ event: 'closing', index: 1 })).toBe(false)
})

test('asks again for lines until they arrive; none is missing and none is there twice', async () => {
  const script = new Scripted()
  const { coordinator, line } = await beside(script)
  const recorder = await RemoteRecorder.start(coordinator, { port: 80, name: 'it', role: 'main', connections: 1 })
  // Of every five messages, the first is an order and the third an answer.
  let n = 0
  line.loses = (message) => String(message).includes('"lines"') && [0, 2].includes(n++ % 5)
  for (let i = 0; i < 100; i++) script.sample(i)
  await until(() => recorder.recording.samples.length === 100)
  const { samples } = await recorder.stop()
  expect(samples.map(({ t }) => t)).toEqual(Array.from({ length: 100 }, (_, i) => i))
  expect(n).toBeGreaterThan(5)
})

test('an event that is late follows what is already written, and time does not go backward', async () => {
  const script = new Scripted()
  const { coordinator } = await beside(script)
  const recorder = await RemoteRecorder.start(coordinator, { port: 80, name: 'it', role: 'main', connections: 1 })
  script.sample(60_000)
  await until(() => recorder.recording.samples.length === 1)
  recorder.mark({ event: 'pulse', index: 0, size: 'big', n: 1 })
  script.sample(60_001)
  await until(() => recorder.recording.samples.length === 2)
  const recording = await recorder.stop()
  expect(recording.events.map(({ event, t }) => [event, t])).toEqual([
    ['pulse', 60_000],
    ['end', 60_001]
  ])
})

test('invalid lines are left out with a note, and the end of the server ends the recording', async () => {
  const script = new Scripted()
  const { coordinator } = await beside(script)
  const recorder = await RemoteRecorder.start(coordinator, { port: 80, name: 'it', role: 'main', connections: 1 })
  script.sample(1)
  script.lines.push({ type: 'sample', t: -1 }, 'x', null, { type: 'event', t: 2, event: 'format' })
  script.lines.push({ type: 'event', t: 3, event: 'end', reason: 'exited', exitCode: 9, signal: null })
  script.ended = true
  const recording = await recorder.done
  expect(recording.samples).toHaveLength(1)
  expect(recording.events.filter(({ event }) => event === 'note')).toHaveLength(4)
  expect(recording.events.at(-1)).toMatchObject({ event: 'end', reason: 'exited', exitCode: 9 })
  expect(recording.complete).toBe(true)
})

test('if the agent is lost, the recording ends and says why', async () => {
  const script = new Scripted()
  const { coordinator, line } = await beside(script)
  const recorder = await RemoteRecorder.start(coordinator, { port: 80, name: 'it', role: 'main', connections: 1 })
  script.sample(1)
  await until(() => recorder.recording.samples.length === 1)
  line.cut = true
  const { events, complete } = await recorder.done
  expect(complete).toBe(true)
  expect(events[0]).toMatchObject({
    event: 'note',
    text: expect.stringMatching(/the agent beside was lost, and nothing is recorded from here on: nothing was heard/)
  })
})

test('rejects if no agent records the port, if the agent cannot, and if its header is invalid', async () => {
  const { coordinator } = await beside(sideRecorder(1))
  const options = { port: 1, name: 'it', role: 'main', connections: 1 } as const
  await expect(RemoteRecorder.start(coordinator, { ...options, port: 2 })).rejects.toThrow(
    /no agent of swarm test records port 2/
  )
  await expect(RemoteRecorder.start(coordinator, options)).rejects.toThrow(
    /^the agent beside does not record: no process listens on port 1/
  )
  const odd = await beside(new Scripted({ type: 'header' }))
  await expect(RemoteRecorder.start(odd.coordinator, { ...options, port: 80 })).rejects.toThrow(
    /sends no header of a recording/
  )
})

test('a side recorder forgets acknowledged lines, and returns no more bytes than asked for', async () => {
  const held = await server()
  const recording = await sideRecorder(held.port).start({ connections: 1, signal: new AbortController().signal })
  onTestFinished(() => recording.stop())
  await until(() => recording.now() > 1000)
  const all = recording.take(0, 1e6).lines
  expect(all.length).toBeGreaterThan(5)
  const few = recording.take(0, 700)
  expect(few.lines).toEqual(all.slice(0, few.lines.length))
  expect(few.lines.length).toBeLessThan(5)
  expect(few.ended).toBe(false)
  // Lines that are asked for again are not yet forgotten.
  expect(recording.take(0, 700).lines).toEqual(few.lines)
  expect(recording.take(2, 1e6).lines.slice(0, 3)).toEqual(all.slice(2, 5))
  held.kill('SIGKILL')
  await held.ended
  await until(() => recording.take(2, 1e6).ended)
  expect(recording.take(2, 1e6).lines.at(-1)).toMatchObject({ event: 'end', reason: 'exited' })
})
