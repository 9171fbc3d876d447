import { stat } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { bindSocket, closeDescriptor, listenOn, localAddress } from 'ebb/sys'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { program } from '../../../../test/support/cli.js'
import { descriptors, directory, until } from '../../../../test/support/sockets.js'
import { total } from './causes.js'
import { Client } from './client.js'
import type { ClientOptions } from './client-options.js'
import type { Opened } from './opened.js'

type Address = ClientOptions['address']

/** Starts a server. `sockets` contains its open sockets; errors of sockets are counted by cause. */
interface Peer {
  address: Address
  sockets: Set<Socket>
  accepted: number
  ended: number
  resets: number
}

async function peer(onSocket: (socket: Socket, index: number) => void = () => {}, path?: string): Promise<Peer> {
  const made: Peer = { address: { path: '' }, sockets: new Set(), accepted: 0, ended: 0, resets: 0 }
  const server: Server = createServer((socket) => {
    made.sockets.add(socket)
    socket.on('close', () => made.sockets.delete(socket))
    socket.on('end', () => made.ended++)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET') made.resets++
    })
    onSocket(socket, made.accepted++)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    if (path === undefined) server.listen(0, '127.0.0.1', 4096, resolve)
    else server.listen(path, resolve)
  })
  onTestFinished(() => {
    for (const socket of made.sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null) throw new Error('it listens')
  made.address = typeof address === 'string' ? { path: address } : { host: '127.0.0.1', port: address.port }
  return made
}

/** Listens without accepting. The backlog has room for one or two connections. */
function deaf(): Address {
  const fd = bindSocket({ host: '127.0.0.1', port: 0 })
  onTestFinished(() => closeDescriptor(fd))
  listenOn(fd, 0)
  const address = localAddress(fd)
  if ('path' in address) throw new Error('it has a port')
  return { host: address.address, port: address.port }
}

async function nobody(): Promise<Address> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return { host: '127.0.0.1', port }
}

function client(address: Address, options: Partial<ClientOptions> = {}): Client {
  const made = new Client({
    address,
    sources: [],
    rate: Number.POSITIVE_INFINITY,
    timeout: 30_000,
    close: 'fin',
    payload: null,
    active: 1,
    expectEcho: false,
    part: { index: 0, of: 1 },
    ...options
  })
  onTestFinished(async () => {
    await made.close()
    made.dispose()
  })
  return made
}

/** Checks that every connect was counted exactly once. */
function accountedFor(opened: Opened, n: number): void {
  expect(opened.connected + total(opened.failed) + opened.abandoned).toBe(n)
}

test('connects, holds and closes; no socket or descriptor is left', async () => {
  const server = await peer()
  const crowd = client(server.address)
  const before = descriptors()
  const opened = await crowd.connect(300)
  expect(opened).toMatchObject({ connected: 300, failed: {}, abandoned: 0, echoed: 0, unanswered: {} })
  expect(crowd.open).toBe(300)
  expect(crowd.latencies.connects.corrected.count).toBe(300)
  await until(() => server.sockets.size === 300)
  await crowd.close()
  expect(crowd.open).toBe(0)
  await until(() => server.sockets.size === 0)
  expect(server.ended).toBe(300)
  expect(server.resets).toBe(0)
  expect(await crowd.takeLost()).toEqual({})
  await until(() => descriptors() === before)
})

test('closes with a reset if close is rst', async () => {
  const server = await peer()
  const crowd = client(server.address, { close: 'rst' })
  await crowd.connect(50)
  await until(() => server.sockets.size === 50)
  await crowd.close()
  await until(() => server.sockets.size === 0)
  expect(server.resets).toBe(50)
})

test('connects several times with one client', async () => {
  const server = await peer()
  const crowd = client(server.address)
  for (const n of [0, 1, 700, 3]) {
    accountedFor(await crowd.connect(n), n)
    expect(crowd.open).toBe(n)
    await crowd.close()
  }
  expect(crowd.latencies.connects.corrected.count).toBe(704)
})

test('counts ECONNREFUSED for every connect if nobody listens', async () => {
  const crowd = client(await nobody())
  const before = descriptors()
  const opened = await crowd.connect(100)
  expect(opened).toMatchObject({ connected: 0, failed: { ECONNREFUSED: 100 } })
  expect(crowd.failed).toBe(100)
  expect(crowd.latencies.connects.corrected.count).toBe(0)
  expect(descriptors()).toBe(before)
})

test('counts ENOENT if the Unix socket does not exist', async () => {
  const opened = await client({ path: join(directory(), 'none.sock') }).connect(10)
  expect(opened).toMatchObject({ connected: 0, failed: { ENOENT: 10 } })
})

test('connects to a Unix socket although its backlog is full at times', async () => {
  const server = await peer(undefined, join(directory(), 'a.sock'))
  const crowd = client(server.address)
  expect((await crowd.connect(1500)).connected).toBe(1500)
  await until(() => server.sockets.size === 1500)
})

test('connects over IPv6', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as { port: number }
  expect((await client({ host: '::1', port }).connect(20)).connected).toBe(20)
})

test('counts a connection that the server resets at once as failed or as lost, never as both', async () => {
  const server = await peer((socket) => socket.resetAndDestroy())
  const crowd = client(server.address)
  const opened = await crowd.connect(200)
  accountedFor(opened, 200)
  await until(() => crowd.open === 0)
  expect(total(await crowd.takeLost()) + total(opened.failed)).toBe(200)
  expect(await crowd.takeLost()).toEqual({})
})

test('counts the connections that the server closes as lost, once; the others stay open', async () => {
  const server = await peer((socket, index) => {
    if (index % 2 === 0) socket.end()
  })
  const crowd = client(server.address)
  accountedFor(await crowd.connect(100), 100)
  await until(() => crowd.open === 50)
  expect(await crowd.takeLost()).toEqual({ FIN: 50 })
  await crowd.close()
  expect(await crowd.takeLost()).toEqual({})
})

test.each(['a timer', 'a poll'])('counts the connections that the server has just closed, after %s', async (phase) => {
  const server = await peer()
  const crowd = client(server.address)
  // More than the reactor handles in one turn of the event loop.
  expect((await crowd.connect(1500)).connected).toBe(1500)
  await until(() => server.sockets.size === 1500)
  const lost = await new Promise((resolve) => {
    const reset = (): void => {
      for (const socket of server.sockets) socket.resetAndDestroy()
      resolve(crowd.takeLost())
    }
    if (phase === 'a timer') setTimeout(reset, 1)
    else stat('/', reset)
  })
  expect(lost).toEqual({ ECONNRESET: 1500 })
  expect(crowd.open).toBe(0)
})

test('fails connects after the time limit if the server never accepts', async () => {
  const crowd = client(deaf(), { timeout: 300 })
  const opened = await crowd.connect(20)
  accountedFor(opened, 20)
  expect(Object.keys(opened.failed)).toEqual(['ETIMEDOUT'])
  expect(total(opened.failed)).toBeGreaterThan(10)
})

test('an abort while connecting ends all connects and counts them', async () => {
  const crowd = client(deaf())
  const before = descriptors()
  const abort = new AbortController()
  const opening = crowd.connect(1000, abort.signal)
  await wait(50)
  abort.abort()
  const opened = await opening
  accountedFor(opened, 1000)
  expect(opened.abandoned).toBeGreaterThan(900)
  expect(crowd.open).toBe(opened.connected)
  expect(descriptors()).toBe(before + opened.connected)
  abort.abort()
  await crowd.close()
  expect(descriptors()).toBe(before)
})

test('an abort before connect() begins no connect', async () => {
  const server = await peer()
  const opened = await client(server.address).connect(10, AbortSignal.abort())
  expect(opened).toMatchObject({ connected: 0, failed: {}, abandoned: 10 })
  expect(server.accepted).toBe(0)
})

test('an abort ends the wait for answers', async () => {
  const server = await peer()
  const crowd = client(server.address, { payload: Buffer.from('hello'), expectEcho: true })
  const abort = new AbortController()
  const opening = crowd.connect(10, abort.signal)
  await until(() => server.sockets.size === 10)
  abort.abort()
  const opened = await opening
  accountedFor(opened, 10)
  expect(opened.echoed).toBe(0)
})

test('aborts leave no listener on the signal', async () => {
  const server = await peer()
  const warnings: string[] = []
  const warned = (warning: Error): unknown => warnings.push(warning.name)
  process.on('warning', warned)
  onTestFinished(() => void process.off('warning', warned))
  const { signal } = new AbortController()
  const crowd = client(server.address, { rate: 2000 })
  for (let i = 0; i < 3; i++) {
    await crowd.connect(30, signal)
    await crowd.close()
  }
  expect(warnings).toEqual([])
})

test('does not connect faster than the rate', async () => {
  const server = await peer()
  const rate = 400
  const opened = await client(server.address, { rate }).connect(101)
  // There are 100 intervals. A timer may fire a millisecond early.
  expect(opened.ms).toBeGreaterThanOrEqual((100 / rate) * 1000 - 5)
})

test('a very low rate can be aborted, and does not overflow a timer', async () => {
  const server = await peer()
  const warnings: Error[] = []
  const warned = (warning: Error): unknown => warnings.push(warning)
  process.on('warning', warned)
  onTestFinished(() => void process.off('warning', warned))
  const abort = new AbortController()
  const opening = client(server.address, { rate: 1e-12 }).connect(2, abort.signal)
  await until(() => server.accepted === 1)
  await wait(20)
  abort.abort()
  expect(await opening).toMatchObject({ connected: 1, abandoned: 1 })
  expect(warnings).toEqual([])
})

test('replaces each connection once before it replaces one for the second time', async () => {
  const server = await peer((socket) => socket.resume())
  const crowd = client(server.address)
  await crowd.connect(40)
  await until(() => server.accepted === 40)
  const before = new Set(server.sockets)
  const opened = await crowd.connect(40, undefined, { rate: 4000, replace: true })
  expect(opened).toMatchObject({ connected: 40, replaced: 40, failed: {}, abandoned: 0 })
  await until(() => server.accepted === 80 && server.sockets.size === 40)
  expect([...server.sockets].filter((socket) => before.has(socket))).toEqual([])
  expect(crowd.open).toBe(40)
  expect(await crowd.takeLost()).toEqual({})
})

test('replaces nothing where nothing is open', async () => {
  const server = await peer()
  const crowd = client(server.address)
  expect(await crowd.connect(3, undefined, { rate: 1000, replace: true })).toMatchObject({ connected: 0, abandoned: 3 })
  expect([crowd.open, server.accepted]).toEqual([0, 0])
})

test('an arrival is late by as much as its time has passed', async () => {
  const server = await peer()
  const crowd = client(server.address)
  const opened = await crowd.connect(100, undefined, { rate: 1000, start: performance.now() - 500 })
  expect(opened).toMatchObject({ connected: 100, late: 100 })
  expect(crowd.latencies.connects.corrected.countAbove(400)).toBe(100)
  expect(crowd.latencies.connects.uncorrected.countAbove(400)).toBe(0)
})

test('uses the sources in turn', async () => {
  const seen: Record<string, number> = {}
  const server = await peer((socket) => {
    const from = String(socket.remoteAddress)
    seen[from] = (seen[from] ?? 0) + 1
  })
  await client(server.address, { sources: ['127.0.0.2', '127.0.0.3'] }).connect(40)
  await until(() => server.accepted === 40)
  expect(seen).toEqual({ '127.0.0.2': 20, '127.0.0.3': 20 })
})

test('counts EADDRNOTAVAIL for a source that this machine does not have', async () => {
  const server = await peer()
  const opened = await client(server.address, { sources: ['192.0.2.1'] }).connect(5)
  expect(opened.failed).toEqual({ EADDRNOTAVAIL: 5 })
})

const echo = (socket: Socket): unknown => socket.pipe(socket)

test('waits for the echo of the payload', async () => {
  const server = await peer(echo)
  const crowd = client(server.address, { payload: Buffer.from('hello'), expectEcho: true })
  expect(await crowd.connect(100)).toMatchObject({ connected: 100, echoed: 100, unanswered: {} })
  await crowd.close()
  expect(await crowd.connect(5)).toMatchObject({ connected: 5, echoed: 5 })
})

test('compares an echo of 1 MB byte by byte', async () => {
  const payload = Buffer.alloc(1_000_000)
  for (let i = 0; i < payload.length; i++) payload[i] = (i * 31) >> 3
  const server = await peer(echo)
  const crowd = client(server.address, { payload, expectEcho: true })
  expect(await crowd.connect(4)).toMatchObject({ connected: 4, echoed: 4, unanswered: {} })
})

test.each([
  ['other bytes', (socket: Socket) => socket.on('data', () => socket.write('hellO')), 'MISMATCH'],
  ['too many', (socket: Socket) => socket.on('data', () => socket.write('hello!')), 'MISMATCH'],
  ['a greeting before the answer', (socket: Socket) => socket.write('220 welcome'), 'MISMATCH'],
  ['half, then the end', (socket: Socket) => socket.on('data', () => socket.end('hel')), 'FIN'],
  ['nothing', () => {}, 'TIMEOUT'],
  ['half, then nothing', (socket: Socket) => socket.on('data', () => socket.write('hel')), 'TIMEOUT']
])('counts an answer of %s as unanswered', async (_, answer, cause) => {
  const server = await peer(answer)
  const timeout = cause === 'TIMEOUT' ? 300 : 30_000
  const crowd = client(server.address, { payload: Buffer.from('hello'), expectEcho: true, timeout })
  const opened = await crowd.connect(10)
  accountedFor(opened, 10)
  expect(opened).toMatchObject({ connected: 10, echoed: 0, unanswered: { [cause]: 10 } })
  expect(await crowd.takeLost()).toEqual(cause === 'FIN' ? { FIN: 10 } : {})
})

test('counts a reset in place of an answer as unanswered and as lost', async () => {
  const server = await peer((socket) => socket.once('data', () => socket.resetAndDestroy()))
  const crowd = client(server.address, { payload: Buffer.from('hello'), expectEcho: true })
  const opened = await crowd.connect(10)
  expect(opened).toMatchObject({ connected: 10, unanswered: { ECONNRESET: 10 } })
  expect(await crowd.takeLost()).toEqual({ ECONNRESET: 10 })
})

test('only the active share of connections sends the payload', async () => {
  let sent = 0
  const server = await peer((socket) => socket.once('data', () => sent++))
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 100 }), async (n, percent) => {
      sent = 0
      const already = server.accepted
      const crowd = client(server.address, { payload: Buffer.from('x'), active: percent / 100 })
      await crowd.connect(n)
      await crowd.close()
      // The FIN came last, so everything that was sent has arrived.
      await until(() => server.accepted === already + n && server.sockets.size === 0)
      expect(Math.abs(sent - (n * percent) / 100)).toBeLessThan(1)
    }),
    {
      numRuns: 15,
      examples: [
        [10, 50],
        [1, 100],
        [60, 0]
      ]
    }
  )
})

test('reads to the end what does not fit into one turn', async () => {
  const server = await peer((socket) => socket.end(Buffer.alloc(20_000_000)))
  const crowd = client(server.address)
  await crowd.connect(4)
  await until(() => crowd.open === 0)
  expect(await crowd.takeLost()).toEqual({ FIN: 4 })
})

test('a server that sends without end does not block the event loop', async () => {
  // The server is another process, so that it can send at full speed.
  const server = await program(`
    const chunk = Buffer.alloc(1 << 20)
    const server = net.createServer((socket) => {
      const more = () => { while (socket.write(chunk)); }
      socket.on('drain', more).on('error', () => {})
      more()
    }).listen(0, '127.0.0.1', () => console.log(server.address().port))
  `)
  const crowd = client({ host: '127.0.0.1', port: server.port })
  await crowd.connect(4)
  for (let i = 0; i < 200; i++) await turn()
  expect(crowd.open).toBe(4)
})
