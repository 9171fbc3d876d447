/**
 * Processes with a listener are killed with SIGKILL, or stopped, at the steps of a handover; a keeper gives back what a
 * killed process had. `EBB_ROUNDS=50` repeats it.
 */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { accounted, CLOSED, COUNT, fates, startCrowd } from '../support/crowd.js'
import {
  type EchoClient,
  echoClient,
  echoClients,
  eventually,
  handoverPath,
  LISTENER,
  Member
} from '../support/handover.js'
import { KeeperProcess, random } from '../support/keeper.js'
import { milestone, patience, waitFor } from '../support/patience.js'

const ROUNDS = Number(process.env.EBB_ROUNDS ?? 1)
const rounds = Array.from({ length: ROUNDS }, (_, round) => round + 1)
const servers = LISTENER

describe.each(rounds)('round %i', (round) => {
  test.each([
    ['new:listening', 1],
    ['new:rows', 1],
    ['new:commit', 0],
    ['new:adopted', 0]
  ])('the successor is killed at %s (%i): the process before goes on with all connections', async (step, after) => {
    const path = handoverPath()
    const { member, base, clients } = await startCrowd(path, { servers })
    const second = new Member(path, { servers, step, after })
    expect((await second.ended).signal).toBe('SIGKILL')
    expect((await member.expect('handoverFailed')).message).toMatch(/successor/)
    expect(await fates(clients)).toEqual(new Map([[member.process.pid, COUNT]]))
    const third = new Member(path, { servers })
    expect((await third.expect('ready')).from).toMatchObject({ connections: COUNT })
    expect(await fates(clients)).toEqual(new Map([[third.process.pid, COUNT]]))
    await accounted(third, base, clients)
  })

  test('the successor is killed at new:done: its connections are closed', async () => {
    const path = handoverPath()
    const { member, clients } = await startCrowd(path, { servers })
    const second = new Member(path, { servers, step: 'new:done' })
    expect((await second.ended).signal).toBe('SIGKILL')
    await member.expect('handedOver')
    expect(await fates(clients)).toEqual(new Map([[CLOSED, COUNT]]))
    expect((await member.ended).code).toBe(0)
  })

  test.each([
    // The large attachments of three connections follow their message, and were not sent.
    ['old:rows', 1, 506 - 3],
    ['old:away', 0, COUNT],
    ['old:commit', 0, COUNT],
    ['old:done', 0, COUNT],
    ['old:surrendered', 0, COUNT]
  ])('the process before is killed at %s (%i): %i connections go on in the successor', async (step, after, served) => {
    const path = handoverPath()
    const { member, base, clients } = await startCrowd(path, { servers, step, after })
    const second = new Member(path, { servers })
    await second.expect('ready')
    expect((await member.ended).signal).toBe('SIGKILL')
    const counts = await fates(clients)
    expect(counts.get(second.process.pid as number) ?? 0).toBe(served)
    expect(await second.value('moved.size')).toBe(served)
    await accounted(second, base, clients)
  })

  test('a successor that stalls before DONE has nothing, and learns it', async () => {
    const [path, over] = [handoverPath(), milestone()]
    const { source, options, stall } = patience()
    const { member, base, clients } = await startCrowd(path, { servers: `${source}${servers}`, options })
    const second = new Member(path, { servers, step: 'new:adopted', atStep: `${stall}${waitFor(over)}` })
    await member.expect('handoverFailed')
    writeFileSync(over, '')
    expect(await second.expect('failed')).toMatchObject({ left: 0, wrong: [] })
    expect(await fates(clients)).toEqual(new Map([[member.process.pid, COUNT]]))
    await accounted(member, base, clients)
  })

  test('with a keeper, no idle connection is lost, and no answer is wrong on one that lives', async () => {
    const below = random(round)
    const path = handoverPath()
    const keeperPath = path.replace('handover', 'keeper')
    const keeper = new KeeperProcess(keeperPath, path)
    await keeper.next()
    const mortal = servers.replace(
      'const text = bytes.toString()',
      `const text = bytes.toString()
      if (text === 'die') process.kill(process.pid, 'SIGKILL')`
    )
    const start = (): Member => new Member(path, { servers: mortal, shell: `export EBB_KEEPER=${keeperPath}` })
    let member = start()
    const ready = await member.expect('ready')
    const idle = await echoClients(ready, 200)
    const texts = idle.map((_, i) => (i % 50 === 0 ? 'big:100000' : i % 2 ? `keep:${i}` : 'hello'))
    const before = await Promise.all(idle.map((client, i) => client.ask(texts[i] as string)))
    const busy = await echoClients(ready, 50)
    const victims = await echoClients(ready, 3)
    await eventually(() => keeper.size()).toBe(253)
    let isOver = false
    let answers = 0
    const talk = async (client: EchoClient): Promise<void> => {
      for (let n = 0; !isOver; n++) {
        const answer = await client.ask(`${n}`).catch(() => undefined)
        if (answer === undefined) return
        expect(answer.text).toBe(`${n}`)
        answers++
        await wait(below(60))
      }
    }
    const talks = busy.map(talk)
    await eventually(async () => answers).toBeGreaterThan(0)
    for (let kill = 0; kill < 3; kill++) {
      await wait(below(150))
      // Killed when it has read from a connection that was kept: this one must not come back.
      await expect((victims[kill] as EchoClient).ask('die')).rejects.toThrow('closed in place')
      await member.ended
      member = start()
      await member.expect('ready')
    }
    isOver = true
    await Promise.all(talks)
    const after = await Promise.all(idle.map((client) => client.ask('who')))
    expect(after.map(({ id, kept, pid }) => [id, kept, pid])).toEqual(
      before.map(({ id, kept }) => [id, kept, member.process.pid])
    )
    // New connections get other ids, also than those that were never kept.
    const { id } = await (await echoClient(ready)).ask('new')
    expect(id).toBeGreaterThan(Math.max(...before.map((answer) => answer.id)))
    expect(await member.value('audit()')).toEqual([])
    const ends = idle.map(({ socket }) => once(socket.end(), 'close'))
    await Promise.all(ends)
    for (const { socket } of busy) socket.destroy()
    await eventually(() => keeper.size()).toBe(1)
    expect(await member.value('audit()')).toEqual([])
  })
})
