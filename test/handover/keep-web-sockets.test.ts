/** The keeper: a process that is killed loses no idle WebSocket of `hibernate()`. `EBB_ROUNDS=50` repeats the kills. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { eventually, type Member } from '../support/handover.js'
import {
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
import { KeeperProcess, type Kept, kept, killed, random } from '../support/keeper.js'

const ROUNDS = Number(process.env.EBB_ROUNDS ?? 3)
const BEHIND = `const behind = park(http.createServer((_, response) => response.end('hello')))`

interface Serving extends Kept {
  member: Member
  clients: HubClient[]
}

/** A process with `count` WebSockets, all of which the keeper has. */
async function serving(count: number, servers = hub()): Promise<Serving> {
  const all = await kept()
  const member = all.start({ servers })
  const clients = await hubClients(await member.expect('ready'), count)
  await expect.poll(() => all.keeper.size()).toBe(count)
  return { ...all, member, clients }
}

/** Evaluates an expression in a process, and waits until the keeper has been sent what it has changed. */
async function changed(member: Member, expression: string): Promise<void> {
  await member.value(
    `new Promise((resolve) => {
    ${expression.replaceAll('\n', ' ')};
    subscribe('ebb:handover', (name) => name === 'keep:sent' && resolve(1))
  })`.replaceAll('\n', ' ')
  )
}

describe('a process that is killed', () => {
  test.each([
    ['with a server of its own', hub()],
    ['behind a parked http.Server', `${BEHIND}; ${hub('', 'behind')}`]
  ])('loses no idle WebSocket: %s', async (_, servers) => {
    const { keeper, start, clients, ...first } = await serving(300, servers)
    let { member } = first
    const before = await servedBy(clients, member.process.pid)
    expect(before[1]).toMatchObject({ tags: ['room1', 'all'], protocol: 'chat', attachment: { url: '/room1' } })
    for (let round = 0; round < 2; round++) {
      await expect.poll(() => keeper.size()).toBe(300)
      await killed(member)
      // It waits in the kernel.
      clients[7]?.socket.send('early')
      member = start({ servers })
      expect((await member.expect('ready')).from).toMatchObject({ connections: 300, awake: 0 })
      expect(JSON.parse((await clients[7]?.next()) as string)).toMatchObject({ id: before[7]?.id, text: 'early' })
      const ids = before.map(({ id }) => id).sort((a, b) => a - b)
      expect((await member.value<[number][]>('came')).map(([id]) => id).sort((a, b) => a - b)).toEqual(ids)
      expect(await member.value('[hub.size, hub.count("all"), hub.count("room0")]')).toEqual([300, 300, 100])
      expect(await member.value('hub.broadcast("hello", "room0")')).toBe(100)
      for (const [at, client] of clients.entries()) if (at % 3 === 0) expect(await client.next()).toBe('hello')
      const after = await servedBy(clients, member.process.pid)
      expect(after).toEqual(before.map((told) => ({ ...told, pid: member.process.pid })))
    }
    for (const { socket } of clients) socket.terminate()
    await eventually(() => member.value('hub.size')).toBe(0)
    await expect.poll(() => keeper.size()).toBe(0)
    expect(await member.value('audit()')).toEqual([])
  })

  test('tags and attachments are kept as they were last', async () => {
    const { start, member, clients } = await serving(3)
    // Without a message, after which it would be sent to the keeper anyway.
    const id = await member.value<number>('[...hub.sockets("room0")][0].id')
    // Too large for the message with the row.
    const large = 12_000
    await changed(member, `Object.assign(hub.get(${id}), { tags: ['new'], attachment: { url: 'x'.repeat(${large}) } })`)
    await killed(member)
    const next = start({ servers: hub() })
    await next.expect('ready')
    const told = await clients[0]?.ask('who')
    expect([told?.id, told?.tags, told?.attachment.url.length]).toEqual([id, ['new'], large])
    expect(await next.value('[hub.count("new"), hub.count("all")]')).toEqual([1, 2])
  })

  test('a WebSocket in the middle of something is closed, and none comes back half-read', async () => {
    const { keeper, start, member, clients } = await serving(1, hub() + UNREAD)
    const ready = { event: 'ready', address: await member.value('first.address()') } as never
    const raw = await Promise.all(Array.from({ length: 6 }, () => rawClient(ready)))
    await expect.poll(() => keeper.size()).toBe(7)
    const [fragmented, cut, inHeader, closing, slow, whole] = raw as [Socket, Socket, Socket, Socket, Socket, Socket]
    const frame = masked(TEXT, 'a frame that is cut')
    fragmented.write(masked(PART, 'two '))
    cut.write(frame.subarray(0, 10))
    inHeader.write(frame.subarray(0, 1))
    // The client does not answer the close frame.
    closing.write(masked(TEXT, 'close'))
    slow.pause().write(masked(TEXT, 'flood'))
    whole.write(Buffer.concat([masked(PART, 'both '), masked(LAST, 'parts')]))
    for (const socket of raw) await isRead(member, socket)
    await expect.poll(() => keeper.size()).toBe(2)
    const ends = raw.slice(0, 5).map((socket) => once(socket.resume(), 'close'))
    await killed(member)
    const next = start({ servers: hub() })
    expect((await next.expect('ready')).from).toMatchObject({ connections: 2 })
    await Promise.all(ends)
    await servedBy(clients, next.process.pid)
    const answer = once(whole, 'data')
    whole.write(masked(TEXT, 'again'))
    expect(String((await answer)[0])).toContain('"text":"again"')
    expect(await next.value('[hub.size, audit()]')).toEqual([2, []])
  })

  test.each(Array.from({ length: ROUNDS }, (_, seed) => seed + 1))(
    'at any moment: no answer is lost or wrong on a WebSocket that lives (seed %i)',
    async (seed) => {
      const below = random(seed)
      const { start, clients, ...first } = await serving(100)
      let { member } = first
      const [idle, busy] = [clients.slice(0, 60), clients.slice(60)]
      let isOver = false
      let answers = 0
      const talk = async (client: HubClient): Promise<void> => {
        for (let n = 0; !isOver; n++) {
          const told = await client.ask(`${n}`).catch(() => undefined)
          if (told === undefined) return
          // An answer to another message would mean that bytes were lost, or came twice.
          expect(told.text).toBe(`${n}`)
          answers++
          await wait(below(60))
        }
      }
      const talks = busy.map(talk)
      await expect.poll(() => answers).toBeGreaterThan(0)
      for (let round = 0; round < 3; round++) {
        await wait(below(150))
        await killed(member)
        member = start({ servers: hub() })
        await member.expect('ready')
      }
      isOver = true
      await Promise.all(talks)
      await servedBy(idle, member.process.pid)
      expect(await member.value('audit()')).toEqual([])
    }
  )

  test('the next process has no hub for them: they are closed, also by the keeper', async () => {
    const { keeper, start, member, clients } = await serving(3, hub('path: undefined'))
    const ends = clients.map((client) => client.end())
    await killed(member)
    const next = start({ servers: hub('path: "/other"') })
    await next.expect('ready')
    expect((await Promise.all(ends)).map(([code]) => code)).toEqual([1006, 1006, 1006])
    expect(await keeper.size()).toBe(0)
    expect(await next.value('[hub.size, audit()]')).toEqual([0, []])
  })

  test('after a handover, the successor is the one whose WebSockets are kept', async () => {
    const { keeper, start, member: first, clients } = await serving(30)
    const second = start({ servers: hub() })
    expect((await second.expect('ready')).from).toMatchObject({ pid: first.process.pid, connections: 30 })
    await first.expect('handedOver')
    await servedBy(clients, second.process.pid)
    await expect.poll(() => keeper.size()).toBe(30)
    await killed(second)
    const third = start({ servers: hub() })
    expect((await third.expect('ready')).from).toMatchObject({ pid: second.process.pid, connections: 30 })
    await servedBy(clients, third.process.pid)
  })
})

describe('a keeper', () => {
  test('forgets what is closed by either side', async () => {
    const { keeper, member, clients } = await serving(6)
    const before = await keeper.ask<number>('fds')
    clients[0]?.socket.close(1000)
    clients[1]?.socket.terminate()
    expect((await clients[0]?.end())?.[0]).toBe(1000)
    clients[2]?.socket.send('close')
    expect(await clients[2]?.end()).toEqual([4000, 'asked'])
    await expect.poll(() => keeper.size()).toBe(3)
    expect(await keeper.ask<number>('fds')).toBe(before - 3)
    await member.value('(first.shutdown({ grace: 1000 }), 1)')
    for (const client of clients.slice(3)) expect((await client.end())[0]).toBe(1001)
    await expect.poll(() => keeper.size()).toBe(0)
  })

  test('that is killed does not stop the server; another one at its path gets all WebSockets', async () => {
    const { path, keeperPath, keeper, start, member, clients } = await serving(50)
    keeper.process.kill('SIGKILL')
    await keeper.ended
    await servedBy(clients, member.process.pid)
    const other = new KeeperProcess(keeperPath, path)
    await other.next()
    await expect.poll(() => other.size()).toBe(50)
    await killed(member)
    const next = start({ servers: hub() })
    expect((await next.expect('ready')).from).toMatchObject({ connections: 50 })
    await servedBy(clients, next.process.pid)
    expect(member.stderr.match(/EBB_KEEPER_LOST/g)).toHaveLength(1)
  })

  test('that is stopped does not stop the server', async () => {
    const { keeper, member, clients, start } = await serving(50)
    keeper.process.kill('SIGSTOP')
    while (!member.stderr.includes('EBB_KEEPER_LOST')) {
      await servedBy(clients, member.process.pid)
      // WebSockets are sent to the keeper when they have been at rest for a moment.
      await wait(200)
    }
    await servedBy(clients, member.process.pid)
    keeper.process.kill('SIGCONT')
    await expect.poll(() => keeper.stderr).toContain('the keeper was too slow')
    await expect.poll(() => keeper.size()).toBe(50)
    await killed(member)
    const next = start({ servers: hub() })
    expect((await next.expect('ready')).from).toMatchObject({ connections: 50 })
    await servedBy(clients, next.process.pid)
  })
})
