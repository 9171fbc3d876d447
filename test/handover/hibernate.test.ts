/** WebSockets of `hibernate()` move to the next process. */
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { eventually, handoverPath, Member } from '../support/handover.js'
import {
  CLOSE,
  type HubClient,
  hub,
  hubClients,
  isRead,
  LAST,
  masked,
  PART,
  rawClient,
  servedBy,
  TEXT,
  UNREAD
} from '../support/handover-web-sockets.js'
import { milestone, waitToBegin } from '../support/patience.js'
import { until } from '../support/sockets.js'

const options = { servers: hub(), options: { grace: '10s' } }
const BEHIND = `

  const behind = park(http.createServer((_, response) => response.end('hello')))
`

/** Waits until all clients are gone in a process, and nothing is left of them. */
async function accounted(member: Member, clients: readonly HubClient[]): Promise<void> {
  for (const { socket } of clients) socket.terminate()
  await eventually(() => member.value('first.stats().parked + first.stats().awake')).toBe(0)
  expect(await member.value('[hub.size, hub.count("all"), audit()]')).toEqual([0, 0, []])
}

describe.each([
  ['with a server of its own', hub()],
  ['behind a parked http.Server', `${BEHIND} ${hub('', 'behind')}`]
])('%s', (_, servers) => {
  test('connections keep id, attachment, tags and subprotocol', async () => {
    const path = handoverPath()
    const first = new Member(path, { ...options, servers })
    const ready = await first.expect('ready')
    const clients = await hubClients(ready, 30)
    const before = await servedBy(clients, first.process.pid)
    clients[4]?.socket.send('tag:moved')
    await clients[4]?.next()

    const second = new Member(path, { ...options, servers })
    expect((await second.expect('ready')).from).toMatchObject({ connections: 30, awake: 0 })
    const moved = before.map(({ id, tags }, at) => [id, at === 4 ? ['moved', 'all'] : tags])
    expect(new Map(await second.value<[number, string[]][]>('came'))).toEqual(new Map(moved as [number, string[]][]))
    const after = await servedBy(clients, second.process.pid)
    for (const [at, told] of after.entries()) {
      const { id, attachment, protocol, tags } = before[at] as (typeof before)[number]
      expect(told).toMatchObject({ id, attachment, protocol, tags: at === 4 ? ['moved', 'all'] : tags })
    }
    expect(await second.value('[hub.size, hub.count("room0"), hub.count("room1"), hub.count("moved")]')).toEqual([
      30, 10, 9, 1
    ])
    expect(await second.value('hub.broadcast("hello", "room0")')).toBe(10)
    expect(await clients[3]?.next()).toBe('hello')
    expect((await first.ended).code).toBe(0)
    const fresh = await hubClients(ready, 1)
    expect((await servedBy(fresh, second.process.pid))[0]?.tags).toEqual(['room0', 'all'])
    await accounted(second, [...clients, ...fresh])
  })
})

test('messages and frames of which a part has arrived', async () => {
  const path = handoverPath()
  const servers = hub() + UNREAD
  const first = new Member(path, { ...options, servers })
  const ready = await first.expect('ready')
  const clients = await Promise.all(Array.from({ length: 4 }, () => rawClient(ready)))
  const [fragmented, cut, both, inHeader] = clients as [Socket, Socket, Socket, Socket]
  const whole = masked(TEXT, 'a frame that is cut')
  fragmented.write(masked(PART, 'two '))
  cut.write(whole.subarray(0, 10))
  both.write(Buffer.concat([masked(PART, 'part '), masked(LAST, 'and rest').subarray(0, 9)]))
  inHeader.write(whole.subarray(0, 1))
  for (const client of clients) await isRead(first, client)

  const second = new Member(path, { ...options, servers })
  expect((await second.expect('ready')).from).toMatchObject({ connections: 4, awake: 0 })
  const answers = clients.map((client) => once(client, 'data'))
  fragmented.write(masked(LAST, 'parts'))
  cut.write(whole.subarray(10))
  both.write(masked(LAST, 'and rest').subarray(9))
  inHeader.write(whole.subarray(1))
  const told = (await Promise.all(answers)).map(([bytes]) =>
    JSON.parse(String(bytes).slice(String(bytes).indexOf('{"')))
  )
  expect(told.map(({ text }) => text)).toEqual([
    'two parts',
    'a frame that is cut',
    'part and rest',
    'a frame that is cut'
  ])
  expect(new Set(told.map(({ pid }) => pid))).toEqual(new Set([second.process.pid]))
})

test('bytes for slow readers, in order, and what both processes send meanwhile', async () => {
  const path = handoverPath()
  const speaking = `
    const slow = []
    hub.server.on('handedOver', () => {
      void hub.broadcast('old to all', 'all')
      for (const id of slow) hub.get(id).send('old to its id')
    })
  `
  // However busy the machine is.
  const patience = { grace: '30s', timeout: '20s' }
  const first = new Member(path, { servers: hub() + speaking, options: patience })
  const ready = await first.expect('ready')
  const clients = await hubClients(ready, 4)
  const others = await hubClients(ready, 3)
  const ids = (await servedBy(clients, first.process.pid)).map(({ id }) => id)
  for (const { socket } of clients) {
    socket.pause()
    socket.send('flood')
  }
  await first.value(`slow.push(${ids})`)
  const flooded = `[${ids}].every((id) => hub.get(id).queued > 1e6)`
  await eventually(() => first.value(flooded)).toBe(true)
  // What waits is more than one batch takes.
  const second = new Member(path, { ...options, options: patience })
  expect((await first.expect('handedOver')).report?.awake).toBeGreaterThan(0)
  const sent = ['new to all', 'new to its id', 'old to all', 'old to its id']
  await second.expect('ready')
  expect(await second.value(`[${ids}].map((id) => hub.get(id).send("new to its id"))`)).toEqual(ids.map(() => true))
  await second.value('hub.broadcast("new to all", "all")')
  await eventually(() => second.value('hub.size')).toBe(7)
  expect((await first.ended).code).toBe(0)
  for (const other of others) {
    expect([await other.next(), await other.next()].sort()).toEqual(['new to all', 'old to all'])
  }
  for (const client of clients) {
    client.socket.resume()
    for (let i = 0; i < 400; i++) {
      const message = await client.next()
      expect(message === String(i).padStart(5, '0').repeat(10_000)).toBe(true)
    }
    const after: string[] = []
    for (const _ of sent) after.push(await client.next())
    expect(after.sort()).toEqual(sent)
    expect((await client.ask('who')).pid).toBe(second.process.pid)
  }
})

test('three handovers under load: every message is answered once, in order', async () => {
  const path = handoverPath()
  let current = new Member(path, options)
  const ready = await current.expect('ready')
  const clients = await hubClients(ready, 24)
  let isRunning = true
  const loads = clients.map(async (client, at) => {
    const expected: string[] = []
    let [sent, pongs] = [0, 0]
    client.socket.on('pong', () => pongs++)
    for (; isRunning || sent < 50; sent++) {
      const bytes = Buffer.alloc(8 + (at % 8 === 0 ? 70_000 : at * 10), sent)
      bytes.writeUInt32LE(sent)
      client.socket.send(bytes, { binary: true, fin: true })
      client.socket.ping()
      expected.push(bytes.toString('hex'))
      // Some are under way, and some are answered.
      if (expected.length > at % 4) expect((await client.next()) === expected.shift()).toBe(true)
    }
    for (const one of expected) expect((await client.next()) === one).toBe(true)
    await client.ask('last')
    expect({ at, pongs, left: client.messages.length }).toEqual({ at, pongs: sent, left: 0 })
    return sent
  })
  for (let i = 0; i < 3; i++) {
    const next = new Member(path, options)
    await next.expect('ready')
    const fresh = await hubClients(ready, 2)
    await servedBy(fresh, next.process.pid)
    clients.push(...fresh)
    expect((await current.ended).code).toBe(0)
    current = next
  }
  isRunning = false
  for (const sent of await Promise.all(loads)) expect(sent).toBeGreaterThanOrEqual(50)
  await accounted(current, clients)
})

describe('a process is killed', () => {
  test.each(['new:rows', 'new:commit', 'new:adopted'])('the new one at %s: the old one goes on', async (step) => {
    const path = handoverPath()
    const first = new Member(path, options)
    const clients = await hubClients(await first.expect('ready'), 300)
    await servedBy(clients, first.process.pid)
    const second = new Member(path, { ...options, step })
    expect((await second.ended).signal).toBe('SIGKILL')
    await first.expect('handoverFailed')
    await servedBy(clients, first.process.pid)
    await accounted(first, clients)
  })

  test.each(['old:commit', 'old:done', 'old:surrendered'])('the old one at %s: the new one goes on', async (step) => {
    const path = handoverPath()
    const first = new Member(path, { ...options, step })
    const clients = await hubClients(await first.expect('ready'), 300)
    const before = await servedBy(clients, first.process.pid)
    const second = new Member(path, options)
    await second.expect('ready')
    expect((await first.ended).signal).toBe('SIGKILL')
    const after = await servedBy(clients, second.process.pid)
    expect(after.map(({ id, tags }) => [id, tags])).toEqual(before.map(({ id, tags }) => [id, tags]))
    await accounted(second, clients)
  })

  test('the old one after a part of the rows: those go on, and the others are closed', async () => {
    const path = handoverPath()
    const first = new Member(path, { ...options, step: 'old:rows' })
    const clients = await hubClients(await first.expect('ready'), 300)
    await servedBy(clients, first.process.pid)
    const second = new Member(path, options)
    await second.expect('ready')
    await eventually(async () => clients.filter(({ closed }) => closed !== undefined).length).toBe(300 - 253)
    const left = clients.filter(({ closed }) => closed === undefined)
    await servedBy(left, second.process.pid)
    await accounted(second, clients)
  })
})

/** A successor that is loaded, and takes over once it is told to: at once, however busy the machine is. */
async function loaded(path: string, servers: string): Promise<{ second: Member; begin: () => void }> {
  const [isLoaded, begins] = [milestone(), milestone()]
  const second = new Member(path, { ...options, servers: `${servers}${waitToBegin(isLoaded, begins)}` })
  await until(() => existsSync(isLoaded))
  return { second, begin: () => writeFileSync(begins, '') }
}

test('closing handshakes go on, with what is left of their time', async () => {
  const path = handoverPath()
  const servers = hub('closeTimeout: "4s"')
  const first = new Member(path, { ...options, servers })
  const ready = await first.expect('ready')
  const { second, begin } = await loaded(path, servers)
  const [answers, silent] = [await rawClient(ready), await rawClient(ready)]
  for (const client of [answers, silent]) {
    client.write(masked(TEXT, 'close'))
    const [frame] = (await once(client, 'data')) as [Buffer]
    expect(frame.subarray(0, 4)).toEqual(Buffer.from([CLOSE, 7, 4000 >> 8, 4000 & 255]))
  }
  begin()
  expect((await second.expect('ready')).from).toMatchObject({ connections: 2 })
  answers.write(masked(CLOSE, ''))
  await once(answers.resume(), 'end')
  await once(silent.resume(), 'end')
  await eventually(() => second.value('events')).toEqual([
    [1005, '', ['raw', 'all']],
    [1006, '', ['raw', 'all']]
  ])
})

test('pings and automatic responses go on', async () => {
  const path = handoverPath()
  const servers = hub('liveness: "2s"')
  const first = new Member(path, { ...options, servers })
  const ready = await first.expect('ready')
  const { second, begin } = await loaded(path, servers)
  const [client] = (await hubClients(ready, 1)) as [HubClient]
  const silent = await rawClient(ready)
  const ended = once(silent.resume(), 'end')
  client.socket.send('beat')
  expect(await client.next()).toBe('yes')
  const { id } = await client.ask('who')
  const answered = await first.value<string>(`hub.autoResponseTimestamp(${id})`)
  begin()
  await second.expect('ready')
  expect(await second.value(`hub.autoResponseTimestamp(${id})`)).toBe(answered)
  expect(await second.value('hub.size')).toBe(2)
  // It answers no ping, so this process closes it.
  await ended
  expect(await second.value('events')).toEqual([[1006, '', ['raw', 'all']]])
  await once(client.socket, 'ping')
  expect((await client.ask('who')).pid).toBe(second.process.pid)
})

test('many move with messages under way: each is answered once, by one of both', async () => {
  const path = handoverPath()
  const first = new Member(path, options)
  const ready = await first.expect('ready')
  const clients = await hubClients(ready, 600)
  const talkers = clients.slice(0, 50)
  let isOver = false
  const talks = talkers.map(async (client) => {
    for (let n = 0; !isOver; n++) expect((await client.ask(`${n}`)).text).toBe(`${n}`)
  })
  const second = new Member(path, options)
  await second.expect('ready')
  await eventually(() => second.value('hub.size')).toBe(600)
  isOver = true
  await Promise.all(talks)
  await servedBy(clients, second.process.pid)
  expect((await first.ended).code).toBe(0)
  expect(clients.every(({ messages }) => messages.length === 0)).toBe(true)
  await accounted(second, clients)
})

test('a hub that the next process does not have: its connections end with the grace', async () => {
  const path = handoverPath()
  const first = new Member(path, { ...options, servers: hub('path: "/chat"'), options: { grace: '500ms' } })
  const ready = await first.expect('ready')
  const clients = await hubClients(ready, 3, () => '/chat')
  const second = new Member(path, { ...options, servers: hub('path: "/other"') })
  expect((await second.expect('ready')).from).toMatchObject({ connections: 0, awake: 3 })
  await servedBy(clients, first.process.pid)
  for (const client of clients) expect((await client.end())[0]).toBe(1001)
  expect((await first.ended).code).toBe(0)
})
