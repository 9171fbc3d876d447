/** `ebb run --store`: connections that outlive a restart of the service, with a stand-in for systemd. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { closeDescriptor, constants, libc } from 'ebb/sys'
import { expect, onTestFinished, test } from 'vitest'
import { MAIN } from '../support/cli.js'
import { type Answer, ECHO, type EchoClient, echoClients, LISTENER } from '../support/handover.js'
import { type HubClient, hub, hubClients, type Told } from '../support/handover-web-sockets.js'
import { ServiceManager, type UnitOptions } from '../support/service-manager.js'
import { directory, freePort, until } from '../support/sockets.js'

interface ServiceOptions extends UnitOptions {
  /** Source that makes `servers`. Default: an echo server. */
  servers?: string
  /** Source that runs before the takeover. */
  before?: string
  options?: readonly string[]
}

interface Service {
  manager: ServiceManager
  address: { port: number; address: string; family: string }
  connect(count: number): Promise<EchoClient[]>
}

/** Starts a service under `ebb run --store`. */
async function service({ servers = ECHO, before = '', options = [], ...unit }: ServiceOptions = {}): Promise<Service> {
  const port = await freePort()
  const source = `
    import http from 'node:http'
    import { createListener, park } from 'ebb'
    import { createServer } from 'ebb/net'
    import { handover } from 'ebb/handover'
    const print = () => {}
    ${before}
    ${servers}
    await handover(servers, { listen: { ...listen, port: ${port} }, grace: '20s' })
  `
  const command = [process.execPath, '--input-type=module', '--eval', source]
  const manager = new ServiceManager([process.execPath, MAIN, 'run', '--store', ...options, '--', ...command], unit)
  await manager.start()
  const address = { port, address: '127.0.0.1', family: 'IPv4' }
  return { manager, address, connect: (count) => echoClients({ event: 'ready', address }, count) }
}

/** Asks all clients. Those that are closed are left out. */
async function answers(
  clients: readonly EchoClient[],
  text = 'who'
): Promise<Awaited<ReturnType<EchoClient['ask']>>[]> {
  const results = await Promise.allSettled(clients.map((client) => client.ask(text)))
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
}

const askHub = (clients: readonly HubClient[]): Promise<Told[]> =>
  Promise.all(clients.map((client) => client.ask('who')))

/** A file with a number that processes add up. */
function counted(): { counter: string; read: () => number } {
  const counter = join(directory(), 'count')
  writeFileSync(counter, '0')
  return { counter, read: () => Number(readFileSync(counter, 'utf8')) }
}

/** Source that counts in such a file that its process has begun, and runs `then` in the second one. */
const secondStart = (then: string): string => `
  import fs from 'node:fs'
  const count = Number(fs.readFileSync(process.env.COUNT, 'utf8'))
  fs.writeFileSync(process.env.COUNT, String(count + 1))
  if (count === 1) ${then}`

/** What never ends. */
const NEVER = 'await new Promise((resolve) => setTimeout(resolve, 3_600_000))'

const allClosed = (clients: readonly EchoClient[]): Promise<void> => until(() => clients.every(({ ended }) => ended))

test('a restart keeps idle connections: ids, attachments, wakes, and clients that connect meanwhile', async () => {
  const { manager, address, connect: open } = await service()
  const clients = await open(600)
  const before = await Promise.all(
    clients.map((client, i) => client.ask(i % 100 === 0 ? 'big:100000' : i % 2 ? `keep:${i}` : 'hello'))
  )
  for (let round = 1; round <= 2; round++) {
    expect(await manager.end()).toEqual({ code: 0, signal: null })
    expect(manager.sent).toContain('STOPPING=1')
    expect(manager.stderr).toMatch(/stored 600 connections of process 1 in systemd/)
    expect(manager.stored.map(({ name }) => name).sort()).toEqual(['ebb-1-file', 'ebb-1-queue-0'])
    const late = connect(address.port, '127.0.0.1')
    await once(late, 'connect')
    late.write('early')
    const answer = once(late, 'data')
    await manager.start()
    expect(String((await answer)[0])).toContain('early')
    late.destroy()
    // What was taken is not in the store.
    expect(manager.stored).toEqual([])
    const after = await answers(clients)
    expect(after.map(({ id, wakes, kept }) => ({ id, wakes, kept }))).toEqual(
      before.map(({ id }, i) => {
        const kept = i % 100 === 0 ? 100_000 : i % 2 ? String(i) : undefined
        return kept === undefined ? { id, wakes: round + 1 } : { id, wakes: round + 1, kept }
      })
    )
    expect(after[0]?.pid).not.toBe(before[0]?.pid)
  }
})

test('clients that talk meanwhile lose no answer, and get none twice', async () => {
  const { manager, connect: open } = await service()
  const clients = await open(600)
  let isOver = false
  const talks = clients.map(async (client, i) => {
    for (let n = 0; !isOver; n++) {
      // An answer to another message would mean that bytes were lost, or came twice.
      expect((await client.ask(`${n}`)).text).toBe(`${n}`)
      await wait(100 + (i % 100))
    }
  })
  const all = Promise.all(talks)
  all.catch(() => {})
  for (let round = 0; round < 2; round++) {
    await wait(300)
    await manager.restart()
    expect(manager.stderr).toMatch(/has taken 600 stored connections/)
  }
  isOver = true
  await all
})

test('stopping the service closes its connections', async () => {
  const { manager, connect: open } = await service()
  const clients = await open(10)
  await answers(clients)
  await manager.stop()
  await allClosed(clients)
})

test('an answer that is under way is sent, and its connection is kept; what never rests has --store-grace', async () => {
  const servers = `
    const servers = park(http.createServer((request, response) => {
      if (request.url === '/slow') setTimeout(() => response.end('slow'), 300)
      else if (request.url === '/never') response.write('never')
      else response.end(String(process.pid))
    }), { idle: '20ms' })
    servers.keepAliveTimeout = 60_000
    const listen = { host: '127.0.0.1' }`
  const { manager, address } = await service({ servers, options: ['--store-grace', '1s'] })
  const agents = Array.from({ length: 3 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }))
  onTestFinished(() => agents.forEach((agent) => void agent.destroy()))
  const [idle, slow, never] = agents as [http.Agent, http.Agent, http.Agent]
  const get = async (agent: http.Agent, path: string): Promise<http.IncomingMessage> =>
    (
      await once(http.get({ port: address.port, host: '127.0.0.1', agent, path }), 'response')
    )[0] as http.IncomingMessage
  const text = async (response: http.IncomingMessage): Promise<string> =>
    String(await response.setEncoding('utf8').toArray())
  const local = ({ socket }: http.IncomingMessage): number | undefined => socket.localPort
  const first = await get(idle, '/')
  const ports = [local(first)]
  const pid = await text(first)
  const pending = get(slow, '/slow')
  const stuck = await get(never, '/never')
  const cut = once(stuck, 'error')
  const restarted = manager.restart()
  const answer = await pending
  ports.push(local(answer))
  expect(await text(answer)).toBe('slow')
  await cut
  await restarted
  const [again, other] = [await get(idle, '/'), await get(slow, '/')]
  expect([local(again), local(other)]).toEqual(ports)
  const pids = [await text(again), await text(other)]
  expect(pids[0]).toBe(pids[1])
  expect(pids[0]).not.toBe(pid)
})

test('what the old process sends to a connection that is stored arrives after the restart', async () => {
  const servers = `
    let asking
    const servers = createServer({ idle: '20ms' }, (socket, connection) => {
      socket.on('error', () => {}).on('data', (bytes) => {
        const text = String(bytes)
        if (text === 'hold') {
          asking = socket
          connection.keepAwake = true
        } else if (text.startsWith('send:')) servers.send(Number(text.slice(5)), 'late')
        socket.write(JSON.stringify({ id: connection.id, text }) + '\\n')
      })
    })
    servers.on('handedOver', () => asking.write(JSON.stringify({ text: 'handed over' }) + '\\n'))
    const listen = { host: '127.0.0.1' }`
  const { manager, connect: open } = await service({ servers, options: ['--store-grace', '1s'] })
  const [idle, holding] = (await open(2)) as [EchoClient, EchoClient]
  const { id } = await idle.ask('x')
  await holding.ask('hold')
  const restarted = manager.restart()
  expect(await holding.answer()).toMatchObject({ text: 'handed over' })
  const received = once(idle.socket, 'data')
  await holding.ask(`send:${id}`)
  await restarted
  expect(String((await received)[0])).toBe('late')
})

test('WebSockets of hibernate() are stored', async () => {
  const { manager, address } = await service({ servers: hub() })
  const clients = await hubClients({ event: 'ready', address }, 30)
  const before = await askHub(clients)
  await manager.restart()
  const after = await askHub(clients)
  expect(after.map(({ pid: _, ...rest }) => rest)).toEqual(before.map(({ pid: _, ...rest }) => rest))
  expect(after[0]?.pid).not.toBe(before[0]?.pid)
})

test('the processes of --procs get back their own connections', async () => {
  const servers = ECHO.replace("host: '127.0.0.1'", "host: '127.0.0.1', reusePort: true")
  const { manager, connect: open } = await service({ servers, options: ['--procs', '2'] })
  const clients = await open(100)
  const before = await answers(clients)
  expect(new Set(before.map(({ pid }) => pid)).size).toBe(2)
  await manager.restart()
  const after = await answers(clients)
  expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id))
  // Those of one process are still with one process.
  const successors = new Map(before.map(({ pid }, i) => [pid, after[i]?.pid]))
  expect(after.map(({ pid }) => pid)).toEqual(before.map(({ pid }) => successors.get(pid)))
})

test('sockets of a socket unit come first, and the program gets no stored descriptor', async () => {
  const listening = createServer().listen(0, '127.0.0.1')
  await once(listening, 'listening')
  const { port } = listening.address() as { port: number }
  const handle = (listening as unknown as { _handle: { fd: number } })._handle
  const fd = libc.check(libc.fcntl(handle.fd, constants.F_DUPFD_CLOEXEC, 0), 'fcntl')
  onTestFinished(() => closeDescriptor(fd))
  // The service alone accepts from now on.
  listening.close()
  const servers = `
    const { LISTEN_FDS, LISTEN_FDNAMES } = process.env
    const servers = createServer({ idle: '20ms' }, (socket, { id }) => {
      socket.on('error', () => {}).on('data', () => {
        socket.write(JSON.stringify({ id, text: LISTEN_FDS + LISTEN_FDNAMES, pid: process.pid }) + '\\n')
      })
    })
    const listen = { fd: 3 }`
  const program = `
    import { createServer } from 'ebb/net'
    import { handover } from 'ebb/handover'
    ${servers}
    await handover(servers, { listen })`
  const command = [
    process.execPath,
    MAIN,
    'run',
    '--store',
    '--',
    process.execPath,
    '--input-type=module',
    '-e',
    program
  ]
  const manager = new ServiceManager(command, { sockets: [{ name: 'web', fd }] })
  await manager.start()
  const clients = await echoClients({ event: 'ready', address: { port, address: '', family: 'IPv4' } }, 20)
  const before = await answers(clients)
  await manager.restart()
  const after = await answers(clients)
  expect(after.map(({ id, text }) => ({ id, text }))).toEqual(before.map(({ id }) => ({ id, text: '1web' })))
})

test('a process that dies before it has taken the connections leaves them to the next one', async () => {
  const { counter } = counted()
  const { manager, connect: open } = await service({ before: secondStart('process.exit(3)'), env: { COUNT: counter } })
  const clients = await open(50)
  const ids = (await answers(clients)).map(({ id }) => id)
  await manager.restart()
  expect(manager.stderr).toMatch(/ended with exit code 3.*\n[\s\S]*has taken 50 stored connections/)
  expect((await answers(clients)).map(({ id }) => id)).toEqual(ids)
})

test('a service that is ended before its process has taken them stores them again', async () => {
  const { counter, read } = counted()
  const { manager, connect: open } = await service({ before: secondStart(NEVER), env: { COUNT: counter } })
  const clients = await open(50)
  const ids = (await answers(clients)).map(({ id }) => id)
  await manager.end()
  const ready = manager.start()
  ready.catch(() => {})
  await until(() => read() === 2)
  await manager.end()
  await expect(ready).rejects.toThrow('the service has ended')
  await manager.start()
  expect((await answers(clients)).map(({ id }) => id)).toEqual(ids)
})

test('a service that is ended in the middle of a handover stores the connections of the process that serves', async () => {
  const { counter, read } = counted()
  const { manager, connect: open } = await service({ before: secondStart(NEVER), env: { COUNT: counter } })
  const clients = await open(50)
  const ids = (await answers(clients)).map(({ id }) => id)
  process.kill(manager.pid, 'SIGHUP')
  await until(() => read() === 2)
  await manager.restart()
  expect((await answers(clients)).map(({ id }) => id)).toEqual(ids)
})

test('with --keep, connections of a process that does not answer are stored, too', async () => {
  const { manager, connect: open } = await service({ options: ['--keep', '--kill-after', '200ms'] })
  const descriptors = (): number => readdirSync(`/proc/${manager.pid}/fd`).length
  const base = descriptors()
  const clients = await open(50)
  const [{ pid, id }] = (await answers(clients)) as [Answer]
  // `ebb run` keeps a duplicate of each connection. The last one is kept after all that the others have done before.
  await open(1)
  await until(() => descriptors() >= base + 51)
  process.kill(pid, 'SIGSTOP')
  await manager.restart()
  const after = await answers(clients)
  expect(after).toHaveLength(50)
  expect(after[0]).toMatchObject({ id })
})

test('without descriptors for the connections, the service says so, and they end with it', async () => {
  const { manager, connect: open } = await service()
  const clients = await open(100)
  await answers(clients)
  execFileSync('prlimit', ['--pid', String(manager.pid), '--nofile=100'])
  await manager.end()
  // At once, or when they come to rest.
  expect(manager.stderr).toMatch(/ERR_EBB_RUN_STORE: .* descriptors/)
  manager.discard()
  await allClosed(clients)
})

test('a store that has no room is reported, and the service starts anew', async () => {
  const { manager, connect: open } = await service({ storeMax: 1 })
  const clients = await open(10)
  await answers(clients)
  await manager.restart()
  expect(manager.stderr).toMatch(/ERR_EBB_RUN_STORE: .* \(FileDescriptorStoreMax=\)/)
  await allClosed(clients)
  expect(await answers(await open(5))).toHaveLength(5)
})

test('a program that does not call handover() ends as without --store', async () => {
  const manager = new ServiceManager([
    process.execPath,
    MAIN,
    'run',
    '--store',
    '--',
    process.execPath,
    '-e',
    `
    require('ebb/testing').notify('READY=1')
    setInterval(() => {}, 1000)`
  ])
  await manager.start()
  expect(await manager.end()).toEqual({ code: null, signal: 'SIGTERM' })
  expect(manager.stderr).toMatch(/ERR_EBB_RUN_STORE: .* it has not called handover\(\)/)
  expect(manager.stored).toEqual([])
})

test('connections of a listener are stored, and new ones get other ids', async () => {
  const { manager, connect: open } = await service({ servers: LISTENER })
  const clients = await open(100)
  const texts = clients.map((_, i) => (i % 20 === 0 ? 'big:100000' : i % 2 ? `keep:${i}` : 'hello'))
  const first = await Promise.all(clients.map((client, i) => client.ask(texts[i] as string)))
  for (let round = 1; round <= 2; round++) {
    expect(await manager.end()).toEqual({ code: 0, signal: null })
    expect(manager.stderr).toMatch(/stored \d+ connections of process 1 in systemd/)
    await manager.start()
    const after = await answers(clients)
    expect(after.map(({ id, kept }) => [id, kept])).toEqual(first.map(({ id, kept }) => [id, kept]))
    const [late] = await open(1)
    expect((await late?.ask('new'))?.id).toBeGreaterThan(Math.max(...first.map(({ id }) => id)))
    late?.socket.destroy()
  }
})
