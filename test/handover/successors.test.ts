/** Successors that may not, cannot or must not take over; several servers; Unix sockets. */

import { once } from 'node:events'
import fs from 'node:fs'
import { connect, createServer as createPlainServer } from 'node:net'
import { dirname, join } from 'node:path'
import { handover } from 'ebb/handover'
import { createServer } from 'ebb/net'
import { type Channel, closeDescriptor, connectChannel, listenForChannels } from 'ebb/sys'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Child } from '../support/child.js'
import { ECHO, EchoClient, echoClient, echoClients, eventually, handoverPath, Member } from '../support/handover.js'
import { milestone, patience, reach, waitFor } from '../support/patience.js'
import { until } from '../support/sockets.js'

const served = async (member: Member, clients: readonly EchoClient[]): Promise<void> => {
  for (const { pid } of await Promise.all(clients.map((client) => client.ask('who')))) {
    expect(pid).toBe(member.process.pid)
  }
}

/** A user whose descriptors nobody else counts for. */
const USER = 50_000 + (process.pid % 10_000)

/** Shell commands that run before a child; the kernel does not limit the descriptors of root. */
function asUser(command: string): string {
  const user = `setpriv --reuid=${USER} --regid=${USER} --clear-groups --inh-caps=-all --bounding-set=-all`
  return process.getuid?.() === 0 ? `${command}; exec ${user} "$@"` : command
}

describe('a successor', () => {
  test('with too few descriptors is refused, and told why', async () => {
    const path = handoverPath()
    const first = new Member(path)
    const clients = await echoClients(await first.expect('ready'), 100)
    const second = new Member(path, { shell: 'ulimit -n 128' })
    expect((await second.expect('failed')).message).toMatch(/ulimit -n/)
    expect((await first.expect('handoverFailed')).message).toMatch(/can open \d+ more descriptors/)
    await served(first, clients)
  })

  test('that runs out of descriptors in the middle has nothing', async () => {
    const path = handoverPath()
    const first = new Member(path)
    const clients = await echoClients(await first.expect('ready'), 100)
    const exhaust = `for (;;) try { fs.openSync('/dev/null') } catch { break }`
    const second = new Member(path, { shell: 'ulimit -n 300', step: 'new:welcome', atStep: exhaust })
    expect(await second.expect('failed')).toMatchObject({
      message: expect.stringMatching(/cannot open enough descriptors/),
      left: 0
    })
    await first.expect('handoverFailed')
    await served(first, clients)
  })

  test('while too many descriptors of the user are on their way is refused, and the next one takes over', async () => {
    const path = handoverPath()
    fs.chmodSync(dirname(path), 0o777)
    const shell = asUser('ulimit -n 500')
    const { source, options, stalled } = patience()
    // The first successor cannot succeed, so the clock runs for it.
    fs.writeFileSync(stalled, '')
    fs.chmodSync(dirname(stalled), 0o777)
    const first = new Member(path, { shell, servers: `${source}${ECHO}`, options })
    const clients = await echoClients(await first.expect('ready'), 100)
    await Promise.all(clients.map((client) => client.ask('x')))
    const hog = new Child(
      `import { channelPair } from 'ebb/sys'
      const [input, output] = globalThis.pair = channelPair()
      for (let i = 0; i < 4; i++) input.trySend(Buffer.of(0), new Array(253).fill(0))
      process.stdin.resume()
      console.log(1)`,
      { shell: asUser('ulimit -n 2000') }
    )
    await hog.next()
    const second = new Member(path, { shell })
    const text = /more descriptors of this user are on their way between processes/
    expect(await second.expect('failed')).toMatchObject({ message: expect.stringMatching(text), left: 0, wrong: [] })
    expect((await first.expect('handoverFailed')).message).toMatch(text)
    await served(first, clients)
    hog.process.kill('SIGKILL')
    await hog.ended
    await eventually(() => first.value('first.stats().parked')).toBe(100)
    fs.rmSync(stalled)
    const third = new Member(path, { shell })
    expect((await third.expect('ready')).from).toMatchObject({ connections: 100 })
    await served(third, clients)
  })

  test('at the same time as another is refused', async () => {
    const path = handoverPath()
    const first = new Member(path)
    const clients = await echoClients(await first.expect('ready'), 10)
    const [welcome, refused] = [milestone(), milestone()]
    const second = new Member(path, { step: 'new:welcome', atStep: `${reach(welcome)}${waitFor(refused)}` })
    await until(() => fs.existsSync(welcome))
    const third = new Member(path)
    expect((await third.expect('failed')).message).toMatch(/another process is about to take over/)
    fs.writeFileSync(refused, '')
    await second.expect('ready')
    await served(second, clients)
  })

  test('with other servers is refused; with more, it opens them itself', async () => {
    const path = handoverPath()
    const first = new Member(path)
    const clients = await echoClients(await first.expect('ready'), 10)
    const http = `const servers = park(http.createServer()); const listen = { port: 0 }`
    const other = new Member(path, { servers: http })
    expect((await other.expect('failed')).message).toMatch(/none of these servers/)
    const two = `${ECHO.replace('const servers', 'const echo').replace('const listen', 'const at')}
      const servers = [echo, park(http.createServer((_, response) => response.end('new')))]
      const listen = [at, { port: 0, host: '127.0.0.1' }]`
    const second = new Member(path, { servers: two })
    expect((await second.expect('ready')).from).toMatchObject({ connections: 10 })
    await served(second, clients)
    const port = await second.value<number>('servers[1].address().port')
    expect(await (await fetch(`http://127.0.0.1:${port}`)).text()).toBe('new')
  })
})

test('several servers move together, each with its own connections', async () => {
  const path = handoverPath()
  const echo = (name: string): string => `createServer({ idle: '20ms' }, (socket, connection) => {
    socket.on('data', (bytes) => socket.write(JSON.stringify({ pid: process.pid, id: connection.id, text: '${name}' }) + '\\n'))
  })`
  const servers = `
    const servers = { a: ${echo('a')}, b: ${echo('b')} }
    const first_ = servers.a
    const listen = { a: { port: 0, host: '127.0.0.1' }, b: { port: 0, host: '127.0.0.1' } }
  `
  const first = new Member(path, { servers })
  await first.expect('ready')
  const ports = await first.value<{ a: number; b: number }>(
    '({ a: servers.a.address().port, b: servers.b.address().port })'
  )
  const a = await echoClients({ event: 'ready', address: { address: '', family: 'IPv4', port: ports.a } }, 30)
  const b = await echoClients({ event: 'ready', address: { address: '', family: 'IPv4', port: ports.b } }, 40)
  await Promise.all([...a, ...b].map((client) => client.ask('x')))
  await eventually(() => first.value('servers.a.stats().parked + servers.b.stats().parked')).toBe(70)
  const second = new Member(path, { servers })
  expect((await second.expect('ready')).from).toMatchObject({ connections: 70 })
  for (const client of a) expect(await client.ask('x')).toMatchObject({ pid: second.process.pid, text: 'a' })
  for (const client of b) expect(await client.ask('x')).toMatchObject({ pid: second.process.pid, text: 'b' })
})

test('a Unix socket keeps its file until the last process closes it', async () => {
  const path = handoverPath()
  const socketPath = join(dirname(path), 'server.sock')
  const servers = ECHO.replace(
    "{ port: 0, host: '127.0.0.1' }",
    `{ path: ${JSON.stringify(socketPath)}, readableAll: true }`
  )
  const first = new Member(path, { servers })
  expect((await first.expect('ready')).address).toBe(socketPath)
  const mode = fs.statSync(socketPath).mode & 0o777
  expect(mode & 0o444).toBe(0o444)
  const open = async (): Promise<EchoClient> => {
    const socket = connect(socketPath)
    await once(socket, 'connect')
    return new EchoClient(socket)
  }
  const clients = await Promise.all(Array.from({ length: 10 }, open))
  await Promise.all(clients.map((client) => client.ask('x')))
  await eventually(() => first.value('first.stats().parked')).toBe(10)
  const second = new Member(path, { servers })
  expect((await second.expect('ready')).address).toBe(socketPath)
  expect((await first.ended).code).toBe(0)
  await served(second, [...clients, await open()])
  for (const { socket } of clients) socket.destroy()
  await second.value('(first.close(), first.closeAllConnections(), 0)')
  expect((await second.ended).code).toBe(0)
  expect(fs.existsSync(socketPath)).toBe(false)
  expect(fs.existsSync(path)).toBe(false)
})

const header = (kind: number): Buffer => Buffer.of(0x65, 0x62, 0x62, 0x68, 1, 0, kind, 0)
const json = (kind: number, value: object): Buffer => Buffer.concat([header(kind), Buffer.from(JSON.stringify(value))])
const HELLO = { pid: 1, node: 'v24', format: 15, free: 1000, servers: [{ name: '0', kind: 'net' }] }
const done = (count: number): Buffer => Buffer.concat([header(9), Buffer.from(Float64Array.of(count).buffer)])

/** Time (ms) that a server in this process waits for a successor. */
const TIMEOUT = 50

/** Stops the clock of the handover in this process: the next successor may be slow. */
function beEndlesslyPatient(): void {
  const [now, later] = [performance.now(), setTimeout]
  const clock = vi.spyOn(performance, 'now').mockReturnValue(now)
  const timers = vi
    .spyOn(globalThis, 'setTimeout')
    .mockImplementation(((call: () => void, ms?: number) =>
      later(call, ms === TIMEOUT ? 60_000 : ms)) as typeof setTimeout)
  onTestFinished(() => {
    clock.mockRestore()
    timers.mockRestore()
  })
}

describe('a process of the same user that is no successor', () => {
  /** A server in this process, with one client. */
  async function target(): Promise<{ path: string; client: EchoClient; failures: Error[] }> {
    const path = handoverPath()
    const server = createServer((socket) => {
      socket.on('data', (text) => socket.write(`${JSON.stringify({ text: String(text) })}\n`))
    })
    const failures: Error[] = []
    server.on('handoverFailed', (error: Error) => failures.push(error))
    await handover(server, { path, listen: { port: 0, host: '127.0.0.1' }, timeout: TIMEOUT })
    onTestFinished(() => void server.close().closeAllConnections())
    const { port } = server.address() as { port: number }
    const client = await echoClient({ event: 'ready', address: { address: '', family: 'IPv4', port } })
    return { path, client, failures }
  }

  test('may send anything: the server goes on', async () => {
    const { path, client, failures } = await target()
    const message = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      fc
        .tuple(fc.nat(14), fc.uint8Array({ maxLength: 100 }))
        .map(([kind, rest]) => Uint8Array.of(...header(kind), ...rest)),
      fc
        .constantFrom(HELLO, { ...HELLO, free: 0 })
        .map((hello) => Uint8Array.of(...header(1), ...Buffer.from(JSON.stringify(hello)))),
      fc.constant(Uint8Array.of(...header(3)))
    )
    let rounds = 0
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 5 }), fc.boolean(), async (messages, stays) => {
        const channel = connectChannel(path)
        for (const bytes of messages) channel.trySend(bytes, rounds % 3 === 0 ? [0, 1] : [])
        if (!stays) channel.close()
        await client.ask('still there')
        if (stays) {
          drain(channel)
          channel.close()
        }
        rounds++
      }),
      { numRuns: 60 }
    )
    await until(() => failures.length > 0)
    expect(await client.ask('in the end')).toMatchObject({ text: 'in the end' })
  })

  test.each([
    { what: 'before anything was sent to it', free: 0, answers: [done(0)] },
    { what: 'of another number of connections', free: 1000, answers: [header(13), done(7)] }
  ])('may say DONE $what: the server goes on', async ({ free, answers }) => {
    const { path, client, failures } = await target()
    await client.ask('x')
    const channel = connectChannel(path)
    onTestFinished(() => channel.close())
    for (const bytes of [json(1, { ...HELLO, free }), header(3), ...answers]) channel.trySend(bytes)
    await until(() => failures.length > 0)
    drain(channel)
    expect(await client.ask('still there')).toMatchObject({ text: 'still there' })
    connectChannel(path).close()
  })

  test.each([
    { what: 'nothing', messages: [] },
    { what: 'HELLO without READY', messages: [json(1, HELLO)] }
  ])('may connect and send $what: others can take over when the patience is over', async ({ messages }) => {
    const { path, client, failures } = await target()
    const channel = connectChannel(path)
    onTestFinished(() => channel.close())
    for (const bytes of messages) channel.trySend(bytes)
    await until(() => failures.length > 0)
    expect(failures[0]?.message).toMatch(/did not go on within 50 ms \(timeout\)/)
    expect(await client.ask('still there')).toMatchObject({ text: 'still there' })
    beEndlesslyPatient()
    const next = new Member(path)
    const fresh = await echoClient(await next.expect('ready'))
    expect(await fresh.ask('and then')).toMatchObject({ pid: next.process.pid })
  })

  test('may answer anything in place of the process before: nothing is adopted', async () => {
    const path = handoverPath()
    const listening = listenForChannels(path)
    onTestFinished(() => closeDescriptor(listening))
    const fake = createPlainServer()
    onTestFinished(() => void fake.close())
    const second = new Member(path)
    const { acceptChannel } = await import('ebb/sys')
    let channel: Channel | undefined
    await until(() => {
      channel = acceptChannel(listening)
      return channel !== undefined
    })
    channel?.trySend(json(2, { pid: 1, node: 'v24', servers: [{ name: '0', kind: 'net' }] }))
    // A descriptor that does not listen.
    channel?.trySend(json(4, { server: 0, path: '', backlog: 10, mostUses: 1 }), [0])
    expect(await second.expect('failed')).toMatchObject({
      left: 0,
      wrong: [],
      message: expect.stringMatching(/refused/)
    })
    channel?.close()
  })
})

function drain(channel: Channel): void {
  for (;;) {
    const received = channel.tryReceive()
    if (received === undefined || received === 'end') return
    for (const fd of received.descriptors) closeDescriptor(fd)
  }
}
