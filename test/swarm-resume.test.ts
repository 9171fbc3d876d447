/** Runs that go on when their coordinator or NATS is killed: `ebb pulse --resume`, with JetStream of a real server. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { natsClient } from 'ebb-lab/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cli, ebb, type Ran, run, type Server, server } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { alive, descendants } from './support/processes.js'
import { directory, until } from './support/sockets.js'

/** Two pulses; the first is held until the coordinator's death has been noticed. */
const PLAN = ['--big', '60', '-i', '1', '-bs', '200ms', '--small', '30', '--pulses', '1', '-l', '4s']
/** A pulse that holds until it is stopped. */
const LONG = ['--big', '60', '-i', '1', '--pulses', '0', '-l', '1h']

interface Swarm {
  nats: Nats
  held: Server
  agents: Cli[]
  /** Options of the swarm. */
  args: string[]
}

/** Starts NATS with JetStream, a server, and two agents. */
async function swarm(natsArgs: readonly string[] = ['-js', '-sd', directory()]): Promise<Swarm> {
  const nats = await Nats.start(natsArgs)
  const held = await server()
  const args = ['--swarm', 'lab', '--nats', nats.url]
  const agents = ['a', 'b'].map((name) => ebb(['agent', ...args, '--name', name]))
  await Promise.all(agents.map((agent) => agent.said(/^Agent /m)))
  return { nats, held, agents, args }
}

/** Starts a run, and waits until its first pulse is held. Returns it with the id of the run. */
async function begun({ held, args }: Swarm, plan: readonly string[]): Promise<{ first: Cli; id: string }> {
  const first = ebb(['pulse', `${held.port}`, ...args, '--agents', '2', ...plan])
  const [, id = ''] = await first.said(/^Run ([0-9a-f]{32}): if this process dies, agents go on for /m)
  await first.said(/: 60 connected in /)
  return { first, id }
}

function reportOf({ stdout }: Ran): Record<string, unknown> {
  return JSON.parse(stdout)
}

/** Checks that nothing of a run is left: no connection, no agent that is taken, no state, no consumer. */
async function expectNothingLeft({ nats, held, agents }: Swarm, states = 0): Promise<void> {
  await until(() => held.clients() === 0)
  await Promise.all(
    agents.filter(({ pid }) => alive(pid)).map((agent) => until(() => /^Free: .*\n$/m.test(lastLines(agent))))
  )
  const connection = await natsClient.connect({ servers: nats.url })
  onTestFinished(() => connection.close())
  expect(await natsClient.bucket(connection, 'ebb-lab')).toEqual({ states, consumers: 0 })
}

function lastLines({ stderr }: Cli): string {
  return stderr.slice(stderr.lastIndexOf('\n', stderr.length - 2) + 1)
}

const WHOLE = { pulses: 2, connected: 90, failed: {}, lost: {}, abandoned: 0, stopped: null }

describe.skipIf(noNats !== undefined)('a run with JetStream', () => {
  test('goes on when the coordinator is killed, and another process collects all results', async () => {
    const all = await swarm()
    const { first, id } = await begun(all, PLAN)
    await first.end('SIGKILL')
    await all.agents[0]?.said(/^Going on without orders of \S+ \(pid \d+\), for up to 600 s$/m)
    expect(all.held.clients()).toBe(60)
    const resumed = await run(['pulse', '--resume', id, ...all.args, '--json'])
    expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^Run of \S+ \(pid \d+\), begun at \S+Z: 0 pulses are stored$/m)
    })
    expect(reportOf(resumed)).toMatchObject({
      ...WHOLE,
      swarm: { degraded: false, agents: [{ connected: 45 }, { connected: 45 }] }
    })
    await expectNothingLeft(all)
    const again = await run(['pulse', '--resume', id, ...all.args])
    expect(again).toMatchObject({ code: 1, stdout: '' })
    expect(again.stderr).toMatch(/^ebb: ERR_SWARM: there is no such run in the bucket ebb-lab of NATS at /m)
  })

  test('agents that have done their part keep the results, and serve other runs meanwhile', async () => {
    const all = await swarm()
    const { first, id } = await begun(all, PLAN)
    await first.end('SIGKILL')
    await Promise.all(all.agents.map((agent) => agent.said(/^Free: nothing was heard of .*; the results are kept$/m)))
    expect(await run(['pulse', `${all.held.port}`, ...all.args, ...PLAN, '-l', '0', '--agents', '2'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^connected +90$/m)
    })
    const resumed = await run(['pulse', '--resume', id, ...all.args, '--json'])
    expect(resumed.code).toBe(0)
    expect(reportOf(resumed)).toMatchObject(WHOLE)
    await expectNothingLeft(all)
  })

  test('goes on when NATS is killed, and the coordinator collects the results when NATS is back', async () => {
    const all = await swarm()
    const { first } = await begun(all, [...PLAN, '--json'])
    await all.nats.kill()
    await Promise.all(all.agents.map((agent) => agent.said(/^Going on without orders of /m)))
    await all.nats.startAgain()
    const ended = await first.ended
    expect({ code: ended.code, stderr: ended.stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^Agents have gone on alone: collecting their results$/m)
    })
    expect(reportOf(ended)).toMatchObject({ ...WHOLE, swarm: { degraded: false } })
    await expectNothingLeft(all)
  })

  test('goes on when coordinator, NATS and an agent are killed; the lost share is counted', async () => {
    const all = await swarm()
    const { first, id } = await begun(all, PLAN)
    await Promise.all([first.end('SIGKILL'), all.nats.kill()])
    const [, b] = all.agents as [Cli, Cli]
    const workers = descendants(b.pid)
    await b.end('SIGKILL')
    await all.nats.startAgain()
    const resumed = await run(['pulse', '--resume', id, ...all.args, '--json'])
    expect(resumed.code).toBe(4)
    expect(reportOf(resumed)).toMatchObject({ ...WHOLE, connected: 45, failed: { EAGENTLOST: 45 } })
    expect(workers.some(alive)).toBe(false)
    await expectNothingLeft(all)
  })

  test('a coordinator that stood still collects the results, unless another process has taken the run over', async () => {
    const all = await swarm()
    const { first, id } = await begun(all, LONG)
    first.kill('SIGSTOP')
    await Promise.all(all.agents.map((agent) => agent.said(/^Going on without orders of /m)))
    const second = ebb(['pulse', '--resume', id, ...all.args, '--json'])
    await second.said(/^Swarm lab .*: 2 agents: a, b$/m)
    first.kill('SIGCONT')
    expect((await first.ended).code).not.toBe(0)
    expect(all.held.clients()).toBe(60)
    const third = await run(['pulse', '--resume', id, ...all.args])
    expect(third.stderr).toMatch(
      new RegExp(`^ebb: ERR_SWARM: .*\\(pid ${second.pid}\\) has this run: end that process`, 'm')
    )
    expect(third.code).toBe(1)
    const ended = await second.end('SIGINT')
    expect(ended.code).toBe(0)
    expect(reportOf(ended)).toMatchObject({ pulses: 1, connected: 60, lost: {}, stopped: 'signal' })
    await expectNothingLeft(all)
  })

  test('agents close everything when the grace is over, and keep the results', async () => {
    const all = await swarm()
    const { first, id } = await begun(all, [...LONG, '--grace', '4s'])
    await first.end('SIGKILL')
    await Promise.all(all.agents.map((agent) => agent.said(/^Free: nothing was heard of .*; the results are kept$/m)))
    await until(() => all.held.clients() === 0)
    const resumed = await run(['pulse', '--resume', id, ...all.args, '--json'])
    expect(resumed.code).toBe(0)
    expect(reportOf(resumed)).toMatchObject({ pulses: 1, connected: 60, lost: {} })
    await expectNothingLeft(all)
  })

  test('another run is told that the agents go on, and --grace 0 has them close everything', async () => {
    const all = await swarm()
    const { first, id } = await begun(all, LONG)
    await first.end('SIGKILL')
    await Promise.all(all.agents.map((agent) => agent.said(/^Going on without orders of /m)))
    const other = await run(['pulse', `${all.held.port}`, ...all.args, ...PLAN])
    expect(other.stderr).toMatch(
      /^ebb: ERR_SWARM: the agents of swarm lab go on with the run of .* for up to 5\d\d s: /m
    )
    const resumed = ebb(['pulse', '--resume', id, ...all.args])
    await resumed.said(/^Swarm lab /m)
    await resumed.end('SIGINT')
    await expectNothingLeft(all)
    const led = ebb(['pulse', `${all.held.port}`, ...all.args, ...LONG, '--grace', '0'])
    await led.said(/: 60 connected in /)
    await led.end('SIGKILL')
    await Promise.all(all.agents.map((agent) => agent.said(/^Free: nothing was heard of .* for [\d.]+ s; closed 30$/m)))
    await expectNothingLeft(all)
  })

  test('a user who may not use JetStream gets a run that cannot be resumed, and is told what is missing', async () => {
    const nats = await Nats.start(['-c', config('ebb.>')])
    const held = await server()
    const args = ['--swarm', 'lab', '--nats', nats.url, '--user', 'ann', '--password', 'p']
    const a = ebb(['agent', ...args])
    await a.said(/^Agent /m)
    const { code, stderr } = await run(['pulse', `${held.port}`, ...args, ...PLAN, '-l', '0'])
    expect(code).toBe(0)
    expect(stderr).toMatch(
      /^This run cannot be resumed: cannot use the bucket ebb-lab .*; allow the user the subjects \$JS\.API\.STREAM\.CREATE\.KV_ebb-lab, \$JS\.API\.STREAM\.MSG\.GET\.KV_ebb-lab, \$KV\.ebb-lab\.> and _INBOX\.>$/m
    )
    const asked = await run(['pulse', `${held.port}`, ...args, ...PLAN, '--grace', '1m'])
    expect(asked).toMatchObject({ code: 1, stderr: expect.stringMatching(/^ebb: ERR_SWARM: cannot use the bucket /m) })
  })

  test('a user with only the permissions that the error names can have runs resumed', async () => {
    const nats = await Nats.start([
      '-c',
      config('ebb.>", "$JS.API.STREAM.CREATE.KV_ebb-lab", "$JS.API.STREAM.MSG.GET.KV_ebb-lab", "$KV.ebb-lab.>')
    ])
    const held = await server()
    const args = ['--swarm', 'lab', '--nats', nats.url, '--user', 'ann', '--password', 'p']
    const a = ebb(['agent', ...args])
    await a.said(/^Agent /m)
    const first = ebb(['pulse', `${held.port}`, ...args, ...LONG])
    const [, id = ''] = await first.said(/^Run ([0-9a-f]{32}): /m)
    await first.said(/: 60 connected in /)
    await first.end('SIGKILL')
    const resumed = ebb(['pulse', '--resume', id, ...args])
    await resumed.said(/^Swarm lab /m)
    expect(await resumed.end('SIGINT')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^connected +60$/m) })
  })

  test('without JetStream, --grace and --resume say so', async () => {
    const all = await swarm([])
    const grace = await run(['pulse', '1', ...all.args, '--grace', '1m'])
    expect(grace.stderr).toMatch(/^ebb: --grace needs JetStream, where the run is stored: start nats-server with -js$/m)
    const resume = await run(['pulse', '--resume', '0'.repeat(32), ...all.args])
    expect(resume.stderr).toMatch(/^ebb: this NATS server has no JetStream, so no run is stored there$/m)
  })
})

/** Writes a configuration with JetStream and a user who may only publish to some subjects. */
function config(publish: string): string {
  const folder = directory()
  const file = join(folder, 'nats.conf')
  const all = '["ebb.>", "$SRV.>", "_INBOX.>"]'
  const user = `{ user: ann, password: p, permissions: { publish: ["${publish}", "$SRV.>", "_INBOX.>"], subscribe: ${all} } }`
  writeFileSync(file, `jetstream { store_dir: "${folder}" }\nauthorization { users: [${user}] }`)
  return file
}

const NATS = ['--swarm', 'lab', '--nats', 'nats://127.0.0.1:1']
const ID = '0'.repeat(32)

test.each<[string[], RegExp]>([
  [['--resume', 'x', ...NATS], /a run has an id of 32 hexadecimal digits, which ebb pulse prints, not "x"/],
  [['--resume', ID], /--resume needs the name of the swarm: add --swarm NAME/],
  [['--resume', ID, '--swarm', 'lab'], /no NATS server is given/],
  [['--resume', ID, ...NATS], /no NATS server listens at 127\.0\.0\.1:1/],
  [['80', '--resume', ID, ...NATS], /--resume goes on with the server and the plan of the run: leave out the server/],
  [['--resume', ID, '--big', '5', ...NATS], /leave out --big/],
  [['--resume', ID, '--rate', '5', ...NATS], /leave out --rate/],
  [['--resume', ID, '--agents', '5', ...NATS], /leave out --agents/],
  [['--resume', ID, '--grace', '5s', ...NATS], /--resume goes on with the --grace of the run/],
  [['80', '--grace', '5s'], /--grace is for a swarm/],
  [['80', '--grace', '5s', '--swarm', 'lab'], /--grace is for agents that other processes run/],
  [['80', '--grace', '5s', '--churn', '1/s', ...NATS], /--grace is for pulses/],
  [NATS, /missing required argument 'server'/]
])('ebb pulse %j is refused', async (args, says) => {
  const { code, stdout, stderr } = await run(['pulse', ...args])
  expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(says) })
})
