/**
 * The keeper: a process that is killed loses no idle connection, and no connection comes back half-read.
 * `EBB_ROUNDS=50` repeats the kills.
 */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type EchoClient, echoClient, echoClients, handoverPath, type Line, Member } from '../support/handover.js'
import { KeeperProcess, type Kept, kept, killed, random } from '../support/keeper.js'

const ROUNDS = Number(process.env.EBB_ROUNDS ?? 3)
const COUNT = 600

interface Serving extends Kept {
  member: Member
  clients: EchoClient[]
}

/** A process with `count` connections, all of which the keeper has. */
async function serving(count: number): Promise<Serving> {
  const all = await kept()
  const member = all.start()
  const clients = await echoClients(await member.expect('ready'), count)
  await expect.poll(() => all.keeper.size()).toBe(count)
  return { ...all, member, clients }
}

/** Asks all clients, and returns how many answered and how many were closed. */
async function outcome(clients: readonly EchoClient[], text = 'still?'): Promise<{ answered: number; closed: number }> {
  const results = await Promise.allSettled(clients.map((client) => client.ask(text)))
  const wrong = results.filter((result) => result.status === 'fulfilled' && result.value.text !== text)
  expect(wrong).toEqual([])
  const answered = results.filter(({ status }) => status === 'fulfilled').length
  return { answered, closed: results.length - answered }
}

describe('a process that is killed', () => {
  test('loses no idle connection: ids, attachments, wakes and the accept queue are there', async () => {
    const { keeper, start } = await kept()
    let member = start()
    let ready = await member.expect('ready')
    const { address } = ready
    const clients = await echoClients(ready, COUNT)
    const texts = clients.map((_, i) => (i % 100 === 0 ? 'big:100000' : i % 2 ? `keep:${i}` : 'hello'))
    const before = await Promise.all(clients.map((client, i) => client.ask(texts[i] as string)))
    for (let round = 1; round <= 3; round++) {
      await expect.poll(() => keeper.size()).toBe(COUNT)
      await killed(member)
      member = start()
      ready = await member.expect('ready')
      expect(ready).toMatchObject({ address, from: { connections: COUNT, awake: 0 } })
      const after = await Promise.all(clients.map((client) => client.ask('who')))
      for (const [i, { id, wakes, kept, pid }] of after.entries()) {
        const attached = i % 100 === 0 ? 100_000 : i % 2 ? String(i) : undefined
        expect({ id, wakes, kept, pid }).toEqual({
          id: before[i]?.id,
          wakes: round + 1,
          kept: attached,
          pid: member.process.pid
        })
      }
    }
    // New connections get other ids.
    const { id } = await (await echoClient(ready)).ask('new')
    expect(before.some((answer) => answer.id === id)).toBe(false)
    expect(await member.value('audit()')).toEqual([])
  })

  test('clients that connect while no process runs are served by the next one', async () => {
    const { start } = await kept()
    const first = start()
    const ready = await first.expect('ready')
    await expect.poll(() => first.value('1')).toBe(1)
    await killed(first)
    const client = await echoClient(ready)
    const answer = client.ask('hello')
    const next = start()
    await next.expect('ready')
    expect((await answer).pid).toBe(next.process.pid)
  })

  test.each(Array.from({ length: ROUNDS }, (_, seed) => seed + 1))(
    'at any moment: no answer is lost or wrong on a connection that lives (seed %i)',
    async (seed) => {
      const below = random(seed)
      const { keeper, start } = await kept()
      let member = start()
      const ready = await member.expect('ready')
      const idle = await echoClients(ready, 100)
      const busy = await echoClients(ready, 50)
      await expect.poll(() => keeper.size()).toBe(150)
      let isOver = false
      let answers = 0
      const talk = async (client: EchoClient): Promise<void> => {
        for (let n = 0; !isOver; n++) {
          const text = `${n}`
          const answer = await client.ask(text).catch(() => undefined)
          if (answer === undefined) return
          // An answer to another message would mean that bytes were lost, or came twice.
          expect(answer.text).toBe(text)
          answers++
          await wait(below(60))
        }
      }
      const talks = busy.map(talk)
      await expect.poll(() => answers).toBeGreaterThan(0)
      for (let round = 0; round < 3; round++) {
        await wait(below(150))
        await killed(member)
        member = start()
        await member.expect('ready')
      }
      isOver = true
      await Promise.all(talks)
      expect(await outcome(idle)).toEqual({ answered: 100, closed: 0 })
      expect(await member.value('audit()')).toEqual([])
    }
  )

  test.each([0, 1])('right after it has sent connections to the keeper (%i): the keeper has those', async (after) => {
    const { path, keeperPath, start } = await kept()
    const shell = `export EBB_KEEPER=${keeperPath}`
    const first = new Member(path, { shell, step: 'keep:sent', after })
    const clients = await echoClients(await first.expect('ready'), 300)
    expect((await first.ended).signal).toBe('SIGKILL')
    const next = start()
    const { from } = await next.expect('ready')
    expect(from?.connections).toBeGreaterThan(0)
    const { answered, closed } = await outcome(clients)
    // Clients whose connection was in the accept queue are served, too.
    expect(answered).toBeGreaterThanOrEqual(from?.connections as number)
    expect(answered + closed).toBe(300)
    expect(await next.value('audit()')).toEqual([])
  })

  test.each(['a process before', 'the keeper'])(
    'right after it has taken over from %s: the next one has all, and can listen',
    async (from) => {
      const { path, keeperPath, start, member: first, clients } = await serving(300)
      if (from === 'the keeper') await killed(first)
      const second = new Member(path, { shell: `export EBB_KEEPER=${keeperPath}`, step: 'keep:own' })
      expect((await second.ended).signal).toBe('SIGKILL')
      const third = start()
      const ready = await third.expect('ready')
      expect(ready.from).toMatchObject({ pid: second.process.pid, connections: 300 })
      expect(await outcome([...clients, await echoClient(ready)])).toEqual({ answered: 301, closed: 0 })
      expect(await third.value('audit()')).toEqual([])
    }
  )

  test('after a handover, the successor is the one whose connections are kept', async () => {
    const { keeper, start, member: first, clients } = await serving(50)
    const second = start()
    expect((await second.expect('ready')).from).toMatchObject({ pid: first.process.pid, connections: 50 })
    await first.expect('handedOver')
    await expect.poll(() => keeper.size()).toBe(50)
    await killed(second)
    const third = start()
    expect((await third.expect('ready')).from).toMatchObject({ pid: second.process.pid, connections: 50 })
    expect(await outcome(clients)).toEqual({ answered: 50, closed: 0 })
  })
})

describe('a keeper', () => {
  test('closes what its process closes: clients get the end, and the port is free', async () => {
    const { keeper, start } = await kept()
    const member = start()
    const ready = await member.expect('ready')
    const before = await keeper.ask<number>('fds')
    const clients = await echoClients(ready, 20)
    await expect.poll(() => keeper.size()).toBe(20)
    const ends = clients.slice(0, 10).map(({ socket }) => once(socket, 'close'))
    for (const { socket } of clients.slice(0, 10)) socket.end()
    await Promise.all(ends)
    await expect.poll(() => keeper.size()).toBe(10)
    await expect.poll(() => keeper.ask<number>('fds')).toBe(before + 10)
    const closed = clients.slice(10).map(({ socket }) => once(socket, 'close'))
    member.tell('first.shutdown({ grace: 0 }).then(() => 1)')
    await Promise.all(closed)
    await expect.poll(() => keeper.size()).toBe(0)
    const { port } = ready.address as { port: number }
    await expect.poll(() => refuses(port)).toBe(true)
  })

  test('that is stopped does not stop the server, which says so once and comes back later', async () => {
    const { keeper, keeperPath, start, member, clients } = await serving(100)
    keeper.process.kill('SIGSTOP')
    await withoutKeeper(keeperPath, clients)
    expect(await outcome(clients)).toEqual({ answered: 100, closed: 0 })
    expect(member.stderr.match(/EBB_KEEPER_LOST/g)).toHaveLength(1)
    keeper.process.kill('SIGCONT')
    // It forgets what may be half-read, and is found again.
    await expect.poll(() => keeper.stderr).toContain('the keeper was too slow')
    await expect.poll(() => keeper.size()).toBe(100)
    await killed(member)
    expect((await start().expect('ready')).from).toMatchObject({ connections: 100 })
    expect(await outcome(clients)).toEqual({ answered: 100, closed: 0 })
    expect(member.stderr.match(/EBB_KEEPER_LOST/g)).toHaveLength(1)
  })

  test('that is stopped gives nothing back of a process that went on without it', async () => {
    const { keeper, keeperPath, start, member, clients } = await serving(100)
    keeper.process.kill('SIGSTOP')
    await withoutKeeper(keeperPath, clients)
    await killed(member)
    keeper.process.kill('SIGCONT')
    await expect.poll(() => existsSync(keeperPath)).toBe(true)
    expect(await keeper.size()).toBe(0)
    expect((await start().expect('ready')).from).toBeUndefined()
  })

  test('that is killed does not stop the server; another one at its path gets all connections', async () => {
    const { path, keeperPath, keeper, start, member, clients } = await serving(100)
    keeper.process.kill('SIGKILL')
    await keeper.ended
    expect(await outcome(clients)).toEqual({ answered: 100, closed: 0 })
    const other = new KeeperProcess(keeperPath, path)
    await other.next()
    await expect.poll(() => other.size()).toBe(100)
    await killed(member)
    expect((await start().expect('ready')).from).toMatchObject({ connections: 100 })
    expect(await outcome(clients)).toEqual({ answered: 100, closed: 0 })
    expect(member.stderr.match(/EBB_KEEPER_LOST/g)).toHaveLength(1)
  })

  test('that is not there does not stop the server', async () => {
    const path = handoverPath()
    const member = new Member(path, { shell: `export EBB_KEEPER=${path}.nowhere` })
    const client = await echoClient(await member.expect('ready'))
    expect((await client.ask('hello')).text).toBe('hello')
    expect(member.stderr).toContain('EBB_KEEPER_LOST')
  })

  test('refuses a second process while the first one lives', async () => {
    const { keeper, path, keeperPath, start, member, clients } = await serving(20)
    const other = new Member(`${path}2`, { shell: `export EBB_KEEPER=${keeperPath}` })
    const { message } = (await other.expect('failed')) as Line & { message: string }
    expect(message).toContain(`process ${member.process.pid} still has the connections`)
    expect(await outcome(clients)).toEqual({ answered: 20, closed: 0 })
    await expect.poll(() => keeper.size()).toBe(20)
    await killed(member)
    expect((await start().expect('ready')).from).toMatchObject({ connections: 20 })
  })
})

/** Has all clients answered until the server goes on without its keeper. */
async function withoutKeeper(keeperPath: string, clients: readonly EchoClient[]): Promise<void> {
  while (existsSync(keeperPath)) {
    expect(await outcome(clients, 'go on')).toEqual({ answered: clients.length, closed: 0 })
    // Connections are sent to the keeper when they have been parked for a moment.
    await wait(200)
  }
}

async function refuses(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const result = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(false)).once('error', () => resolve(true))
  })
  socket.destroy()
  return result
}
