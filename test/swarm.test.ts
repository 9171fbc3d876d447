/** Swarms on the command line: agents as processes, with a real NATS server in between. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { natsClient, readRecording } from 'ebb-lab/testing'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cli, ebb, run, server } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { alive, descendants } from './support/processes.js'
import { directory, until } from './support/sockets.js'

const SHORT = ['--big', '60', '-i', '1', '--pulses', '0', '-l', '200ms']
/** A pulse that holds until it is stopped. */
const LONG = ['--big', '60', '-i', '1', '--pulses', '0', '-l', '1h']

/** Waits until all connections are open and the run knows it. Only then does a lost agent count as lost connections. */
async function holding(pulsing: Cli, held: Awaited<ReturnType<typeof server>>): Promise<void> {
  await held.said(/: 60 clients/)
  await pulsing.said(/: 60 connected in /)
}

/** Starts `ebb agent` and waits until it can be discovered. */
async function agent(nats: Nats, name: string, args: readonly string[] = []): Promise<Cli> {
  const cli = ebb(['agent', '--nats', nats.url, '--swarm', 'lab', '--name', name, ...args])
  await cli.said(/^Agent /m)
  return cli
}

function swarm(nats: Nats, ...args: string[]): string[] {
  return ['--swarm', 'lab', '--nats', nats.url, ...args]
}

describe.skipIf(noNats !== undefined)('over NATS', () => {
  test('two agents make the connections of one run, and each prints what it did', async () => {
    const nats = await Nats.start()
    const held = await server()
    const [a, b] = await Promise.all([agent(nats, 'a'), agent(nats, 'b', ['--most', '20'])])
    const { code, stdout, stderr } = await run([
      'pulse',
      `${held.port}`,
      ...swarm(nats, '--agents', '2'),
      ...SHORT,
      '--json'
    ])
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^Swarm lab \(NATS at .*\): 2 agents: a, b$/m)
    })
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ pulses: 1, connected: 60, failed: {}, lost: {}, stopped: null })
    expect(report.swarm).toMatchObject({ name: 'lab', degraded: false })
    const each = report.swarm.agents.map(({ name, connected }: { name: string; connected: number }) => [
      name,
      connected
    ])
    // In proportion to their capacities, to within 1.
    expect(new Map(each)).toEqual(
      new Map([
        ['a', 60],
        ['b', 0]
      ])
    )
    await a.said(/^Pulse 1, 60 of 60 to 127\.0\.0\.1:\d+: 60 connected in .* held /m)
    for (const cli of [a, b]) {
      await cli.said(/^Free: the run has ended$/m)
      expect(await cli.end('SIGTERM')).toMatchObject({ code: 0, stderr: expect.stringMatching(/^Left$/m) })
    }
    await held.said(/Cycle #\s*1: 0 clients/)
  })

  test('the table shows the failures of each agent', async () => {
    const nats = await Nats.start()
    const held = await server()
    await held.end('SIGTERM')
    await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const { code, stdout } = await run(['pulse', `${held.port}`, ...swarm(nats), ...SHORT])
    expect(code).toBe(2)
    expect(stdout).toMatch(/^failed +60 \(ECONNREFUSED 60\)$/m)
    expect(stdout).toMatch(/^agents +2$/m)
    expect(stdout).toMatch(/^started within +[\d.]+ ms \(± [\d.]+ ms\)$/m)
    expect(stdout).toMatch(/^ {2}a +0 connected; 30 failed: ECONNREFUSED 30$/m)
  })

  test('several servers share the connections of all agents; the one that is dead has the failures', async () => {
    const nats = await Nats.start()
    const [one, two, dead] = await Promise.all([server(), server(), server()])
    await dead.end('SIGTERM')
    const [a] = await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const servers = [one, two, dead].map(({ port }) => `127.0.0.1:${port}`)
    const args = ['pulse', ...servers, ...swarm(nats, '--agents', '2'), ...SHORT]
    const { code, stdout } = await run([...args, '--json'])
    expect(code).toBe(2)
    expect(JSON.parse(stdout)).toMatchObject({
      connected: 40,
      failed: { ECONNREFUSED: 20 },
      targets: [
        { target: servers[0], connected: 20, failed: {} },
        { target: servers[1], connected: 20, failed: {} },
        { target: servers[2], connected: 0, failed: { ECONNREFUSED: 20 } }
      ]
    })
    await a.said(/^Pulse 1, 30 of 60 to 127\.0\.0\.1:\d+, 127\.0\.0\.1:\d+, 127\.0\.0\.1:\d+: 20 connected in /m)
    await until(() => one.clients() === 0 && two.clients() === 0)
    const table = await run(args)
    expect(table.stdout).toMatch(/^servers +3$/m)
    expect(table.stderr).toMatch(
      /^note: nothing connected to 127\.0\.0\.1:\d+ \(ECONNREFUSED\): no process listens there/m
    )
    expect(table.stdout).toMatch(/^ {2}127\.0\.0\.1:\d+ +0 connected; 20 failed: ECONNREFUSED 20$/m)
  })

  test('an agent refuses a run if one of its servers is not allowed', async () => {
    const nats = await Nats.start()
    await agent(nats, 'a', ['--allow', '127.0.0.1:1'])
    const { code, stderr } = await run(['pulse', '1', '2', ...swarm(nats), ...SHORT])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ebb: ERR_SWARM: the agent a refuses: 127\.0\.0\.1:2 is not allowed here/m)
  })

  test('NATS tools can discover, ping and query the agents', async () => {
    const nats = await Nats.start()
    const held = await server()
    await agent(nats, 'a', ['--allow', '127.0.0.0/8'])
    const pulsing = ebb(['pulse', `${held.port}`, ...swarm(nats), ...LONG])
    await holding(pulsing, held)
    const connection = await natsClient.connect({ servers: nats.url })
    onTestFinished(() => connection.close())
    const client = natsClient.services(connection).client()
    const [pinged] = await all(await client.ping('ebb-lab'))
    expect(pinged).toMatchObject({ name: 'ebb-lab', metadata: { name: 'a', protocol: '2', allow: '127.0.0.0/8' } })
    const [info] = await all(await client.info('ebb-lab'))
    expect(info?.endpoints).toMatchObject([{ name: 'orders', subject: `ebb.lab.agent.${info?.id}` }])
    const [statistics] = await all(await client.stats('ebb-lab'))
    expect(statistics?.endpoints?.[0]).toMatchObject({ num_errors: 0, data: { open: 60, pulses: 1, connected: 60 } })
    await pulsing.end('SIGINT')
  })

  test('an agent that is killed while it holds is lost; the run goes on and ends with exit code 4', async () => {
    const nats = await Nats.start()
    const held = await server()
    const [a] = await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const pulsing = ebb(['pulse', `${held.port}`, ...swarm(nats), ...LONG])
    await holding(pulsing, held)
    a.kill('SIGKILL')
    await pulsing.said(/^Agent a is lost: nothing was heard of it for [\d.]+ s$/m)
    await until(() => held.clients() === 30)
    const { code, stdout } = await pulsing.end('SIGINT')
    expect(code).toBe(4)
    expect(stdout).toMatch(/^lost while held +30 \(EAGENTLOST 30\)$/m)
    expect(stdout).toMatch(/^agents +2, 1 lost: degraded$/m)
    expect(stdout).toMatch(/^ {2}a +30 connected; 30 lost: EAGENTLOST 30; nothing was heard of it/m)
    await until(() => held.clients() === 0)
  })

  test('with --strict, the loss of an agent ends the run', async () => {
    const nats = await Nats.start()
    const held = await server()
    const [a] = await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const pulsing = ebb(['pulse', `${held.port}`, ...swarm(nats, '--strict'), ...LONG])
    await holding(pulsing, held)
    a.kill('SIGTERM')
    const { code, stdout } = await pulsing.ended
    expect(code).toBe(4)
    expect(stdout).toMatch(/^stopped +agents lost$/m)
    await until(() => held.clients() === 0)
  })

  test('agents close everything when the coordinator is killed, and serve the next one', async () => {
    const nats = await Nats.start()
    const held = await server()
    const [a] = await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const first = ebb(['pulse', `${held.port}`, ...swarm(nats), ...LONG])
    await held.said(/: 60 clients/)
    await first.end('SIGKILL')
    await a.said(/^Free: nothing was heard of .* for [\d.]+ s; closed 30$/m)
    await until(() => held.clients() === 0)
    expect(await run(['pulse', `${held.port}`, ...swarm(nats, '--agents', '2'), ...SHORT])).toMatchObject({ code: 0 })
  })

  test('a second run is told who has the swarm, and does not disturb the first', async () => {
    const nats = await Nats.start()
    const held = await server()
    await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const first = ebb(['pulse', `${held.port}`, ...swarm(nats), ...LONG])
    await held.said(/: 60 clients/)
    const second = await run(['pulse', `${held.port}`, ...swarm(nats), ...SHORT])
    expect(second).toMatchObject({ code: 1, stdout: '' })
    expect(second.stderr).toMatch(new RegExp(`^ebb: ERR_SWARM: \\S+@\\S+ \\(pid ${first.pid}\\) has swarm lab: `, 'm'))
    expect(held.clients()).toBe(60)
    expect(await first.end('SIGINT')).toMatchObject({ code: 0 })
  })

  // An agent that is silent for 2.25 s is lost. On a busy machine the restart of NATS may take longer: hence the
  // retries.
  test('the run goes on when NATS restarts', { retry: 2 }, async () => {
    const nats = await Nats.start()
    const held = await server()
    const [a] = await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const plan = ['--big', '60', '-i', '2', '-bs', '0', '--pulses', '0', '-l', '4s']
    const pulsing = ebb(['pulse', `${held.port}`, ...swarm(nats), ...plan])
    await holding(pulsing, held)
    await nats.kill()
    await nats.startAgain()
    await a.said(/is away$/m)
    await a.said(/is back$/m)
    const { code, stdout, stderr } = await pulsing.ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('NATS is back') })
    expect(stdout).toMatch(/^connected +120$/m)
    await until(() => held.clients() === 0)
  })

  test('when NATS is gone, agents close everything and the run ends; when NATS is back, agents are too', async () => {
    const nats = await Nats.start()
    const held = await server()
    const [a] = await Promise.all([agent(nats, 'a'), agent(nats, 'b')])
    const pulsing = ebb(['pulse', `${held.port}`, ...swarm(nats), ...LONG])
    await holding(pulsing, held)
    await nats.kill()
    await a.said(/^Free: nothing was heard of .*; closed 30$/m)
    await until(() => held.clients() === 0)
    const { code, stdout } = await pulsing.ended
    expect(code).toBe(4)
    expect(stdout).toMatch(/^lost while held +60 \(EAGENTLOST 60\)$/m)
    await nats.startAgain()
    expect(await run(['pulse', `${held.port}`, ...swarm(nats, '--agents', '2'), ...SHORT])).toMatchObject({ code: 0 })
  })

  test('an agent holds a crowd over the descriptor limit in worker processes, which end with it', async () => {
    const nats = await Nats.start()
    const held = await server(['--every', '100'])
    const small = ebb(['agent', '--nats', nats.url, '--swarm', 'lab', '--procs', '4'], { shell: 'ulimit -n 256' })
    await small.said(/768 descriptors/)
    const pulsing = ebb([
      'pulse',
      `${held.port}`,
      ...swarm(nats),
      '--big',
      '600',
      '-i',
      '1',
      '--pulses',
      '0',
      '-l',
      '1h'
    ])
    await held.said(/: 600 clients/)
    const workers = descendants(small.pid)
    expect(workers.length).toBeGreaterThan(1)
    await small.end('SIGKILL')
    await held.said(/Cycle #\s*1: 0 clients/)
    await until(() => !workers.some(alive))
    expect(await pulsing.ended).toMatchObject({ code: 4 })
  })

  test('rejects servers that are not allowed, crowds that are too large, and swarms without agents', async () => {
    const nats = await Nats.start()
    const a = await agent(nats, 'a', ['--allow', '10.0.0.0/8', 'localhost:99'])
    const cases: [string[], RegExp][] = [
      [
        ['127.0.0.1:80'],
        /^ebb: ERR_SWARM: the agent a refuses: 127\.0\.0\.1:80 is not allowed here: this agent connects to 10\.0\.0\.0\/8, localhost:99$/m
      ],
      [['localhost:80'], /^ebb: ERR_SWARM: the agent a refuses: localhost:80 \(.*\) is not allowed here/m],
      [
        ['10.0.0.1:80', '--big', '10000k'],
        /^ebb: ERR_SWARM: 10000000 connections to 10\.0\.0\.1 are \d+ more than the \d+ that swarm lab offers: a \d+ \(/m
      ],
      [
        ['10.0.0.1:80', '--swarm', 'other'],
        /^ebb: ERR_SWARM: swarm other \(NATS at .*\) has no agents: start some, ebb agent --swarm other$/m
      ],
      [['10.0.0.1:80', '--procs', '2'], /^ebb: procs are each agent's own: give them to ebb agent$/m],
      [
        ['10.0.0.1:80', '--payload', 'x'.repeat(100_000)],
        /^ebb: a swarm cannot carry payload: it must be 96 KiB at most$/m
      ],
      [['/run/a.sock'], /^ebb: a swarm cannot reach a Unix socket of one machine: give HOST:PORT$/m]
    ]
    for (const [args, says] of cases) {
      const { code, stdout, stderr } = await run(['pulse', ...swarm(nats), ...args])
      expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' })
      expect(stderr).toMatch(says)
      expect(stderr).not.toMatch(/^\s+at /m)
    }
    await a.said(/^Refused: 127\.0\.0\.1:80 is not allowed here/m)
  })

  test('drops and reports forged, oversized and malformed messages', async () => {
    const nats = await Nats.start()
    const held = await server()
    const a = await agent(nats, 'a')
    const pulsing = ebb(['pulse', `${held.port}`, ...swarm(nats), ...LONG])
    await holding(pulsing, held)
    const connection = await natsClient.connect({ servers: nats.url })
    onTestFinished(() => connection.close())
    const seen: string[] = []
    connection.subscribe('ebb.lab.>', { callback: (_, message) => void seen.push(message.subject) })
    await until(() => seen.some((subject) => subject.includes('coordinator')))
    const coordinator = seen.find((subject) => subject.includes('coordinator')) as string
    const [found] = await all(await natsClient.services(connection).client().ping('ebb-lab'))
    const orders = `ebb.lab.agent.${found?.id}`
    const forged = { v: 2, from: 'f'.repeat(32), lease: 'f'.repeat(32), seq: 1 }
    for (const message of ['close!', Buffer.alloc(300_000), JSON.stringify({ ...forged, order: 'close', at: 0 })])
      connection.publish(orders, message)
    connection.publish(
      coordinator,
      JSON.stringify({ v: 2, agent: found?.id, lease: 'f'.repeat(32), tell: 'leaving', reason: 'ha' })
    )
    connection.publish(coordinator, Buffer.alloc(300_000))
    connection.publish('ebb.lab.all', '{')
    await a.said(/^Dropped an order: it is not JSON$/m)
    await a.said(/^Dropped an order: 300000 bytes are more than the maximum of 262144/m)
    await a.said(/^Dropped the order close: it is not from the coordinator that holds this agent$/m)
    await a.said(/^Dropped a heartbeat: it is not JSON$/m)
    await pulsing.said(/^Dropped a message in the name of a: it does not contain the secret of this run$/m)
    await pulsing.said(/^Dropped a message: 300000 bytes/m)
    expect(held.clients()).toBe(60)
    expect(await pulsing.end('SIGINT')).toMatchObject({ code: 0 })
  })

  test('names an agent of another version that is not used', async () => {
    const nats = await Nats.start()
    const connection = await natsClient.connect({ servers: nats.url })
    onTestFinished(() => connection.close())
    await natsClient.services(connection).add({
      name: 'ebb-lab',
      version: '0.0.1',
      metadata: { name: 'grandpa', protocol: '0' }
    })
    const alone = await run(['pulse', '1', ...swarm(nats)])
    expect(alone.code).toBe(1)
    expect(alone.stderr).toMatch(
      /no agents; not used: grandpa: it speaks version 0 of the protocol, and this is version 2/
    )
    const held = await server()
    await agent(nats, 'a')
    const both = await run(['pulse', `${held.port}`, ...swarm(nats), ...SHORT])
    expect(both).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^Agent grandpa is not used: it speaks version 0/m)
    })
  })

  test('rejects an order that is larger than NATS accepts', async () => {
    const folder = directory()
    writeFileSync(join(folder, 'nats.conf'), 'max_payload: 4096')
    const nats = await Nats.start(['-c', join(folder, 'nats.conf')])
    const held = await server()
    await agent(nats, 'a')
    const args = ['--payload', 'x'.repeat(9000), ...SHORT]
    const { code, stderr } = await run(['pulse', `${held.port}`, ...swarm(nats), ...args])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ebb: ERR_NATS: .*bytes is larger than NATS at .* accepts: raise its max_payload of 4096/m)
  })

  describe('a NATS server with authentication', () => {
    /** Checks that agent and coordinator can connect with the credentials, and cannot without. */
    async function lets(
      config: string,
      given: { args?: string[]; env?: NodeJS.ProcessEnv },
      says: RegExp,
      scheme = 'nats'
    ): Promise<void> {
      const folder = directory()
      writeFileSync(join(folder, 'nats.conf'), config)
      const nats = await Nats.start(['-c', join(folder, 'nats.conf')])
      const held = await server()
      const { args = [], env = {} } = given
      const url = `${scheme}://localhost:${nats.port}`
      const inside = ebb(['agent', '--nats', url, '--swarm', 'lab', ...args], { env })
      await inside.said(/^Agent /m)
      const made = await run(['pulse', `${held.port}`, '--swarm', 'lab', '--nats', url, ...args, ...SHORT], { env })
      expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^connected +60$/m) })
      for (const command of [['agent'], ['pulse', '1']]) {
        const outside = await run([...command, '--nats', url, '--swarm', 'lab'])
        expect(outside.stderr).toMatch(says)
        expect(outside.code).toBe(1)
      }
    }

    const VIOLATION =
      /^ebb: ERR_NATS: NATS at localhost:\d+ refuses this user \(.*\): check --creds, --nkey, --user and --password, or --token$/m

    test('accepts user and password', async () => {
      await lets(
        'authorization { user: ann, password: "s3cret" }',
        { args: ['--user', 'ann', '--password', 's3cret'] },
        VIOLATION
      )
    })

    test('accepts a token from the environment', async () => {
      await lets('authorization { token: "s3cret" }', { env: { NATS_TOKEN: 's3cret' } }, VIOLATION)
    })

    test('accepts a token in the address', async () => {
      const folder = directory()
      writeFileSync(join(folder, 'nats.conf'), 'authorization { token: "s3cret" }')
      const nats = await Nats.start(['-c', join(folder, 'nats.conf')])
      const inside = ebb(['agent', '--swarm', 'lab', '--nats', `nats://s3cret@127.0.0.1:${nats.port}`])
      await inside.said(/^Agent /m)
      expect(inside.stderr).not.toContain('s3cret')
    })

    test('accepts an nkey', async () => {
      const folder = directory()
      const user = natsClient.nkeys.createUser()
      const seed = join(folder, 'user.nk')
      writeFileSync(seed, `${Buffer.from(user.getSeed())}\n`)
      await lets(`authorization { users: [{ nkey: ${user.getPublicKey()} }] }`, { args: ['--nkey', seed] }, VIOLATION)
    })

    test('accepts a credentials file', async () => {
      const { config, creds } = operator()
      const file = join(directory(), 'user.creds')
      writeFileSync(file, creds)
      await lets(config, { args: ['--creds', file] }, VIOLATION)
    })

    test('accepts TLS with certificates on both sides', async () => {
      const { ca, cert, key } = certificates()
      const config = `tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${ca}", verify: true }`
      const args = ['--tls-ca', ca, '--tls-cert', cert, '--tls-key', key]
      await lets(config, { args }, /^ebb: ERR_NATS: cannot use NATS at localhost:\d+: .*certificate/m, 'tls')
    })

    test('accepts a user with only the permissions that the error names', async () => {
      const may = '["ebb.lab.>", "$SRV.>", "_INBOX.>"]'
      const users = `users: [{ user: ann, password: p, permissions: { publish: ${may}, subscribe: ${may} } }]`
      await lets(`authorization { ${users} }`, { args: ['--user', 'ann', '--password', 'p'] }, VIOLATION)
    })

    test('tells a user which permissions are missing', async () => {
      const folder = directory()
      const users = 'users: [{ user: ann, password: p, permissions: { publish: "ebb.>", subscribe: "none" } }]'
      writeFileSync(join(folder, 'nats.conf'), `authorization { ${users} }`)
      const nats = await Nats.start(['-c', join(folder, 'nats.conf')])
      const { code, stderr } = await run(['agent', ...swarm(nats), '--user', 'ann', '--password', 'p'])
      expect(code).toBe(1)
      expect(stderr).toMatch(
        /^ebb: ERR_NATS: NATS at .* does not let this user subscribe to \S+: allow it the subjects ebb\.>, \$SRV\.> and _INBOX\.>\n$/
      )
    })

    const ALL = '["ebb.>", "$SRV.>", "_INBOX.>"]'
    test.each([
      ['publish to \\$SRV\\.\\S+', `publish: ["ebb.>", "_INBOX.>"], subscribe: ${ALL}`],
      ['subscribe to _INBOX\\.\\S+', `publish: ${ALL}, subscribe: ["ebb.>", "$SRV.>"]`],
      ['subscribe to ebb\\.lab\\.\\S+', `publish: ${ALL}, subscribe: ["$SRV.>", "_INBOX.>"]`],
      ['publish to ebb\\.lab\\.\\S+', `publish: ["$SRV.>", "_INBOX.>"], subscribe: ${ALL}`]
    ])('tells a coordinator that it must not %s', async (what, permissions) => {
      const folder = directory()
      const users = `{ user: ann, password: p, permissions: { ${permissions} } }, { user: bob, password: p }`
      writeFileSync(join(folder, 'nats.conf'), `authorization { users: [${users}] }`)
      const nats = await Nats.start(['-c', join(folder, 'nats.conf')])
      await agent(nats, 'a', ['--user', 'bob', '--password', 'p'])
      const { code, stderr } = await run(['pulse', '1', ...swarm(nats), '--user', 'ann', '--password', 'p'])
      expect(stderr).toMatch(
        new RegExp(`^ebb: ERR_NATS: NATS at \\S+ does not let this user ${what}: allow it the subjects `, 'm')
      )
      expect(code).toBe(1)
    })
  })

  test('tls:// never falls back to a plain connection', async () => {
    const nats = await Nats.start()
    const { code, stderr } = await run(['agent', '--swarm', 'lab', '--nats', `tls://127.0.0.1:${nats.port}`])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ebb: ERR_NATS: .*does not support 'tls'/m)
  })

  test('an agent beside the server records it, and the verdict is like that of a local server', async () => {
    const nats = await Nats.start()
    const held = await server()
    const out = directory()
    const plan = [
      '--big',
      '200',
      '-i',
      '2',
      '-bs',
      '300ms',
      '--small',
      '40',
      '--pulses',
      '2',
      '-ss',
      '100ms',
      '-l',
      '400ms',
      '--json'
    ]
    await Promise.all([agent(nats, 'a'), agent(nats, 'beside', ['--record-port', `${held.port}`])])
    const there = await run([
      'bench',
      '--server',
      `127.0.0.1:${held.port}`,
      ...swarm(nats, '--agents', '2'),
      '--out',
      out,
      '--name',
      'it',
      ...plan
    ])
    expect({ code: there.code, stderr: there.stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/1 agent: a; beside records port \d+$/m)
    })
    const here = await run(['bench', '--port', `${held.port}`, '--name', 'it', ...plan])
    const [remote, local] = [there, here].map(({ stdout }) => JSON.parse(stdout).verdicts[0] as Record<string, unknown>)
    const known = (verdict: Record<string, unknown> = {}) =>
      Object.entries(verdict)
        .filter(([, value]) => value !== null)
        .map(([key]) => key)
    expect(known(remote)).toEqual(known(local))
    expect(remote).toMatchObject({ name: 'it', connects: 480, failed: 0, lost: 0 })
    // Both runs measured the same server, so the figures are similar but not equal.
    expect(remote?.resident as number).toBeGreaterThan((local?.resident as number) / 2)
    const recording = await readRecording(join(out, 'it.ndjson'))
    expect(recording).toMatchObject({ complete: true, notes: [], header: { pid: held.pid, runtime: { name: 'node' } } })
    expect(recording.samples.length).toBeGreaterThan(10)
    expect(recording.events.map(({ event }) => event).filter((event) => event !== 'note')).toEqual([
      ...Array.from({ length: 4 }, () => ['pulse', 'connected', 'closing', 'closed']).flat(),
      'end'
    ])
  })

  test('when the recording agent is lost, the verdict covers what was recorded and a note says so', async () => {
    const nats = await Nats.start()
    const held = await server()
    const out = directory()
    const [, beside] = await Promise.all([agent(nats, 'a'), agent(nats, 'beside', ['--record-port', `${held.port}`])])
    const plan = ['--big', '60', '-i', '1', '--pulses', '0', '-l', '20s', '--name', 'it', '--out', out]
    const bench = ebb(['bench', '--server', `127.0.0.1:${held.port}`, ...swarm(nats), ...plan])
    await held.said(/: 60 clients/)
    beside.kill('SIGKILL')
    const { code, stderr } = await bench.ended
    expect(code).toBe(4)
    expect(stderr).toMatch(/note: the agent beside was lost, and nothing is recorded from here on/)
    await until(() => held.clients() === 0)
    expect((await readRecording(join(out, 'it.ndjson'))).complete).toBe(true)
  })

  test('the run ends when the server that an agent records ends', async () => {
    const nats = await Nats.start()
    const held = await server()
    await Promise.all([agent(nats, 'a'), agent(nats, 'beside', ['--record-port', `${held.port}`])])
    const bench = ebb([
      'bench',
      '--server',
      `127.0.0.1:${held.port}`,
      ...swarm(nats),
      '--big',
      '60',
      '-i',
      '1',
      '--pulses',
      '0',
      '-l',
      '20s'
    ])
    await held.said(/: 60 clients/)
    held.kill('SIGKILL')
    const { code, stdout } = await bench.ended
    expect(code).toBe(2)
    expect(stdout).toMatch(/connections +60/)
  })
})

test('without --nats, the swarm is this process', async () => {
  const held = await server()
  const { code, stdout, stderr } = await run(['pulse', `${held.port}`, '--swarm', 'lab', ...SHORT, '--procs', '2'])
  expect(code).toBe(0)
  expect(stderr).toMatch(/^Swarm lab \(this process\): 1 agent: /m)
  expect(stdout).toMatch(/^connected +60$/m)
  await held.said(/Cycle #\s*1: 0 clients/)
})

const WRONG: [args: string[], says: RegExp][] = [
  [['agent'], /required option '--swarm <name>' not specified/],
  [['agent', '--swarm', 'lab'], /no NATS server is given: add --nats/],
  [['agent', '--swarm', 'a.b', '--nats', 'nats://127.0.0.1:1'], /letters, digits, - and _/],
  [['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1'], /no NATS server listens at 127\.0\.0\.1:1: start one/],
  [['agent', '--swarm', 'lab', '--nats', 'http://127.0.0.1'], /nats:\/\/HOST:PORT or tls:\/\/HOST:PORT, not "http:/],
  // Errors must not contain credentials.
  [
    ['agent', '--swarm', 'lab', '--nats', 'nats://ann:s3cret@127.0.0.1/x'],
    /HOST:PORT, not "nats:\/\/\.\.\.@127\.0\.0\.1\/x"/
  ],
  [
    ['agent', '--swarm', 'lab', '--nats', 'nats://%zz:s3cret@127.0.0.1'],
    /HOST:PORT, not "nats:\/\/\.\.\.@127\.0\.0\.1"/
  ],
  [['agent', '--swarm', 'lab', '--nats', 'nats://no.such.host.invalid'], /no\.such\.host\.invalid/],
  [
    ['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', '--allow', '10.0.0.1'],
    /HOST:PORT, \[IPv6\]:PORT or a network/
  ],
  [
    ['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', '--creds', '/no/such'],
    /cannot read \/no\/such: no such file or directory \(ENOENT\)/
  ],
  [
    ['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', '--tls-cert', '/etc/hostname'],
    /--tls-cert and --tls-key go together: give both/
  ],
  [['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', '--record-port', '99999'], /from 0 to 65535/],
  [
    ['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', '--source', 'eth0'],
    /a source must be an IPv4 or IPv6 address, not "eth0"/
  ],
  [['agent', '--swarm', 'lab', '--nats', 'nats://127.0.0.1:1', '--name', ''], /an agent's name is 1 to 100 characters/],
  [['pulse', '1', '--nats', 'nats://127.0.0.1:1'], /--nats is for a swarm: add --swarm NAME/],
  [['pulse', '1', '--strict'], /--strict is for a swarm/],
  [['pulse', '1', '--agents', '2'], /--agents is for a swarm/],
  [['pulse', '1', '--swarm', 'a b'], /letters, digits, - and _/],
  [['bench', '--server', '10.0.0.1:80'], /add --swarm NAME/],
  [['bench', '--server', '/run/a', '--swarm', 'lab'], /--server is HOST:PORT/]
]

test.concurrent.each(WRONG)('ebb %j', async (args, says) => {
  const cleanUps: (() => Promise<void>)[] = []
  try {
    const { code, stdout, stderr } = await run(args, { onTestFinished: (cleanUp) => cleanUps.push(cleanUp) })
    expect(stderr).toMatch(says)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.trim().split('\n')).toHaveLength(1)
  } finally {
    for (const cleanUp of cleanUps) await cleanUp()
  }
})

async function all<T>(some: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const one of some) found.push(one)
  return found
}

/** Creates a certificate authority and a certificate for localhost. Returns the paths of the PEM files. */
function certificates(): { ca: string; cert: string; key: string } {
  const folder = directory()
  const [ca, caKey, cert, key, request, extensions] = [
    'ca.pem',
    'ca.key',
    'cert.pem',
    'key.pem',
    'request.pem',
    'extensions'
  ].map((name) => join(folder, name)) as [string, string, string, string, string, string]
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore' })
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...ec, '-days', '2', '-subj', '/CN=authority', '-keyout', caKey, '-out', ca)
  openssl('req', ...ec, '-subj', '/CN=localhost', '-keyout', key, '-out', request)
  writeFileSync(extensions, 'subjectAltName=DNS:localhost,IP:127.0.0.1')
  openssl(
    'x509',
    '-req',
    '-in',
    request,
    '-CA',
    ca,
    '-CAkey',
    caKey,
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    extensions,
    '-out',
    cert
  )
  return { ca, cert, key }
}

/**
 * Creates an operator, an account and a user, as `nsc` does:
 * https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
 */
function operator(): { config: string; creds: string } {
  const [operator, account, user] = [
    natsClient.nkeys.createOperator(),
    natsClient.nkeys.createAccount(),
    natsClient.nkeys.createUser()
  ]
  type Pair = typeof user
  const jwt = (signer: Pair, subject: Pair, name: string, nats: object): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const claims = {
      jti: name,
      iat: Math.floor(Date.now() / 1000),
      iss: signer.getPublicKey(),
      name,
      sub: subject.getPublicKey(),
      nats: { ...nats, version: 2 }
    }
    const text = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part(claims)}`
    return `${text}.${Buffer.from(signer.sign(Buffer.from(text))).toString('base64url')}`
  }
  const unlimited = { subs: -1, data: -1, payload: -1 }
  const accounts = { ...unlimited, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }
  const config = `operator: ${jwt(operator, operator, 'O', { type: 'operator' })}
resolver: MEMORY
resolver_preload: { ${account.getPublicKey()}: ${jwt(operator, account, 'A', { type: 'account', limits: accounts })} }`
  const creds = `-----BEGIN NATS USER JWT-----
${jwt(account, user, 'U', { type: 'user', pub: {}, sub: {}, ...unlimited })}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${Buffer.from(user.getSeed())}
------END USER NKEY SEED------
`
  return { config, creds }
}
