/** The channels of `diagnostics_channel`: park, wake, release and handover. */
import { AsyncLocalStorage, executionAsyncId } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { park, release } from 'ebb'
import type { HandoverEndMessage, HandoverErrorMessage, ParkMessage, ReleaseMessage, WakeMessage } from 'ebb/metrics'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Child } from '../support/child.js'
import { ECHO, echoClient, eventually, handoverPath, Member } from '../support/handover.js'

const SOON = { timeout: 30_000, interval: 10 }

/** Subscribes until the end of the test. */
function heard<T>(name: string, then?: () => void): T[] {
  const messages: T[] = []
  const subscriber = (message: unknown): void => {
    messages.push(message as T)
    then?.()
  }
  subscribe(name, subscriber)
  onTestFinished(() => void unsubscribe(name, subscriber))
  return messages
}

async function connected(server: ParkServer): Promise<net.Socket> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {})
  onTestFinished(() => {
    client.destroy()
    server.close()
  })
  return client
}

test('ebb:park and ebb:wake tell what stats() counts, in no context of a connection', async () => {
  const store = new AsyncLocalStorage<string>()
  const stores: unknown[] = []
  const look = (): void => void stores.push([store.getStore(), executionAsyncId()])
  const parks = heard<ParkMessage>('ebb:park', look)
  const wakes = heard<WakeMessage>('ebb:wake', look)
  const ids = new Set<number>()
  const server = createServer({ idle: false }, (socket, connection: Connection) => {
    store.enterWith('of a connection')
    ids.add(connection.id)
    socket.on('data', () => {
      socket.write(String(connection.wakes), () => setImmediate(() => connection.park()))
    })
  })
  const client = await connected(server)
  for (const round of [1, 2, 3]) {
    client.write('x')
    expect(String((await once(client, 'data'))[0])).toBe(String(round))
    await vi.waitFor(() => expect(server.stats().parked).toBe(1), SOON)
  }
  const [id = 0] = ids
  expect(ids.size).toBe(1)
  expect(wakes).toEqual([1, 2, 3].map((wakes) => ({ server, id, wakes })))
  expect(parks).toEqual([1, 2, 3].map(() => ({ server, id })))
  expect(server.stats()).toMatchObject({ woken: wakes.length, parkedAgain: parks.length })
  // The async id of the code that starts a process.
  expect(stores).toEqual(Array(6).fill([undefined, 1]))
})

test('a connection that Node accepts is told as woken once, and ebb:release has releases without a governor', async () => {
  const wakes = heard<WakeMessage>('ebb:wake')
  const releases = heard<ReleaseMessage>('ebb:release')
  const server = park(http.createServer((_, response) => response.end('x')))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  await (await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)).text()
  expect(wakes).toEqual([{ server, id: wakes[0]?.id, wakes: 1 }])
  expect(server.stats().woken).toBe(1)
  const done = await release()
  expect(releases).toEqual([{ ...done, reason: 'asked' }])
})

test('subscribers that throw do no harm: their errors are uncaught exceptions', async () => {
  const child = new Child(`
    import { subscribe } from 'node:diagnostics_channel'
    import net from 'node:net'
    import { createServer } from 'ebb/net'
    import { audit, trackCreated } from 'ebb/testing'
    trackCreated()
    const errors = []
    process.on('uncaughtException', ({ message }) => errors.push(message))
    for (const name of ['ebb:park', 'ebb:wake']) subscribe(name, () => { throw new Error(name) })
    const server = createServer({ idle: false }, (socket, connection) => {
      socket.on('data', (bytes) => socket.write(bytes, () => setImmediate(() => connection.park())))
    })
    server.listen(0, '127.0.0.1', () => {
      const client = net.connect(server.address().port, '127.0.0.1')
      let answers = 0
      client.write('x')
      client.on('data', () => {
        if (++answers < 3) {
          const wait = () => server.stats().parked === 1 ? client.write('x') : setImmediate(wait)
          return wait()
        }
        console.log(JSON.stringify({ answers, errors, wrong: audit() }))
        client.destroy()
        server.close()
      })
    })
  `)
  const { answers, errors, wrong } = await child.next<{ answers: number; errors: string[]; wrong: string[] }>()
  expect({ answers, wrong }).toEqual({ answers: 3, wrong: [] })
  expect(errors.slice(0, 5)).toEqual(['ebb:wake', 'ebb:park', 'ebb:wake', 'ebb:park', 'ebb:wake'])
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

/** Servers that remember what the channels of a handover tell, and have metrics. */
const TOLD = `
  // The old process would end before it is asked.
  setInterval(() => {}, 2 ** 30)
  const { metrics } = await import('ebb/metrics')
  const all = metrics({ runtime: false })
  const told = []
  for (const name of ['start', 'end', 'error']) subscribe('ebb:handover:' + name, (message) => told.push({ name, ...message }))
  const counted = () => all.text().split('\\n').filter((line) => /^ebb_handover(?:s|_connections)_total\\S* [^0]/.test(line))
  ${ECHO}
`

interface Told extends HandoverEndMessage, HandoverErrorMessage {
  name: string
}

test('ebb:handover:start and end tell both processes, error tells why it failed, and metrics count them', async () => {
  const path = handoverPath()
  const old = new Member(path, { servers: TOLD })
  const ready = await old.expect('ready')
  const client = await echoClient(ready)
  await client.ask('hello')
  await eventually(() => old.value<{ parked: number }>('stats')).toMatchObject({ parked: 1 })
  // It kills itself in the middle.
  const dying = new Member(path, { servers: TOLD, step: 'new:welcome' })
  await dying.ended
  await old.expect('handoverFailed')
  const failed = await old.value<Told[]>(`told.map((message) => ({ ...message, error: message.error?.code }))`)
  const first = { side: 'old', servers: ['0'], pid: dying.process.pid }
  expect(failed).toEqual([
    { name: 'start', ...first },
    { name: 'error', ...first, error: 'ERR_EBB_HANDOVER' }
  ])
  const next = new Member(path, { servers: TOLD })
  const { from } = await next.expect('ready')
  const { report } = await old.expect('handedOver')
  const second = { side: 'old', servers: ['0'], pid: next.process.pid }
  expect((await old.value<Told[]>('told')).slice(2)).toEqual([
    { name: 'start', ...second },
    { name: 'end', ...second, connections: 1, awake: 0, ms: report?.ms }
  ])
  const taken = { side: 'new', servers: ['0'], pid: old.process.pid }
  expect(await next.value<Told[]>('told')).toEqual([
    { name: 'start', ...taken },
    { name: 'end', ...taken, connections: 1, awake: 0, ms: from?.ms }
  ])
  expect(await old.value('counted()')).toEqual([
    'ebb_handovers_total{side="old",outcome="done"} 1',
    'ebb_handovers_total{side="old",outcome="failed"} 1',
    'ebb_handover_connections_total{side="old"} 1'
  ])
  expect(await next.value('counted()')).toEqual([
    'ebb_handovers_total{side="new",outcome="done"} 1',
    'ebb_handover_connections_total{side="new"} 1'
  ])
})
