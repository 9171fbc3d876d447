/**
 * A process is killed with SIGKILL, or stopped, at each step of a handover. After that, each connection is served by
 * exactly one process, or is closed because its process was killed. `EBB_ROUNDS=50` repeats each step.
 */
import { writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { accounted, CLOSED, COUNT, type Crowd, fates, startCrowd } from '../support/crowd.js'
import { ECHO, echoClients, eventually, handoverPath, Member, type MemberOptions } from '../support/handover.js'
import { at, milestone, type Patience, patience, reach, waitFor } from '../support/patience.js'
import { isStopped } from '../support/processes.js'
import { until } from '../support/sockets.js'

const ROUNDS = Number(process.env.EBB_ROUNDS ?? 1)
const rounds = Array.from({ length: ROUNDS }, (_, round) => round)
const endings = { served: (pid: number, n = COUNT) => new Map([[pid, n]]) }

describe.each(rounds)('round %i: the successor is killed', () => {
  test.each([
    ['new:welcome', 0],
    ['new:listening', 0],
    ['new:listening', 1],
    ['new:rows', 0],
    ['new:rows', 2],
    ['new:commit', 0],
    ['new:adopted', 0]
  ])('at %s (%i): the process before goes on with all connections', async (step, after) => {
    const path = handoverPath()
    const { member, base, clients } = await startCrowd(path)
    const second = new Member(path, { step, after })
    expect((await second.ended).signal).toBe('SIGKILL')
    expect((await member.expect('handoverFailed')).message).toMatch(/successor/)
    expect(await fates(clients)).toEqual(endings.served(member.process.pid as number))

    // The next one takes over.
    await eventually(() => member.value('idle()')).toBe(COUNT)
    const third = new Member(path)
    expect((await third.expect('ready')).from).toMatchObject({ connections: COUNT })
    expect(await fates(clients)).toEqual(endings.served(third.process.pid as number))
    await accounted(third, base, clients)
  })

  test('at new:done: its connections are closed', async () => {
    const path = handoverPath()
    const { member, clients } = await startCrowd(path)
    const second = new Member(path, { step: 'new:done' })
    expect((await second.ended).signal).toBe('SIGKILL')
    await member.expect('handedOver')
    expect(await fates(clients)).toEqual(new Map([[CLOSED, COUNT]]))
    await member.expect('closed')
    expect((await member.ended).code).toBe(0)
  })
})

describe.each(rounds)('round %i: the process before is killed', () => {
  test.each([
    ['old:welcome', 0, 0],
    ['old:listening', 0, 0],
    // The large attachments of three connections follow their message, and were not sent.
    ['old:rows', 0, 253 - 3],
    ['old:rows', 1, 506 - 3],
    ['old:rows', 2, COUNT],
    ['old:away', 0, COUNT],
    ['old:commit', 0, COUNT],
    ['old:done', 0, COUNT],
    ['old:surrendered', 0, COUNT]
  ])('at %s (%i): %i connections go on in the successor', async (step, after, served) => {
    const path = handoverPath()
    const { member, base, clients } = await startCrowd(path, { step, after })
    const second = new Member(path)
    const { from } = await second.expect('ready')
    expect((await member.ended).signal).toBe('SIGKILL')
    if (step === 'old:welcome') expect(from).toBeUndefined()
    else expect(from).toMatchObject({ pid: member.process.pid })
    const counts = await fates(clients)
    expect(counts.get(second.process.pid as number) ?? 0).toBe(served)
    expect(counts.get(CLOSED) ?? 0).toBe(COUNT - served)
    await accounted(second, base, clients)
  })
})

describe.each(rounds)('round %i: patience', () => {
  const block = (ms: number) => `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${ms})`

  /** A process with connections that loses patience when its successor stalls. */
  async function impatient(path: string, more: MemberOptions = {}): Promise<Crowd & Patience> {
    const patient = patience()
    const { source, options } = patient
    return { ...(await startCrowd(path, { servers: `${source}${ECHO}`, options, ...more })), ...patient }
  }

  test('a successor that stalls before DONE has nothing, and learns it', async () => {
    const [path, over] = [handoverPath(), milestone()]
    const { member, base, clients, stall } = await impatient(path)
    const second = new Member(path, { step: 'new:adopted', atStep: `${stall}${waitFor(over)}` })
    await member.expect('handoverFailed')
    writeFileSync(over, '')
    expect(await second.expect('failed')).toMatchObject({
      message: expect.stringMatching(/lost patience/),
      left: 0,
      wrong: []
    })
    expect(await fates(clients)).toEqual(endings.served(member.process.pid as number))
    await accounted(member, base, clients)
  })

  test('DONE that comes at the last moment counts', async () => {
    const [path, last, done] = [handoverPath(), milestone(), milestone()]
    const { member, base, clients, stall } = await impatient(path, {
      step: 'old:impatient',
      atStep: `${reach(last)}${waitFor(done)}`
    })
    const second = new Member(path, {
      servers: `${at('new:done', reach(done))}${ECHO}`,
      step: 'new:adopted',
      atStep: `${stall}${waitFor(last)}`
    })
    await second.expect('ready')
    await member.expect('handedOver')
    expect(await fates(clients)).toEqual(endings.served(second.process.pid as number))
    expect((await member.ended).code).toBe(0)
    await accounted(second, base, clients)
  })

  test('handedOver comes before close, also if the process was busy in between', async () => {
    const path = handoverPath()
    // Sending ahead goes on in a later turn, which then hands over, and is busy until the first look is due.
    const busy = `subscribe('ebb:handover', (name) => { if (name === 'old:leaving') ${block(100)} })`
    const member = new Member(path, { step: 'old:rows', atStep: `${block(20)}; ${busy}` })
    const clients = await echoClients(await member.expect('ready'), COUNT)
    // Without attachments, so that the socket between both processes is never full.
    await Promise.all(clients.map((client) => client.ask('hello')))
    await eventually(() => member.value('idle()')).toBe(COUNT)
    const second = new Member(path)
    await second.expect('ready')
    expect(await member.next()).toMatchObject({ event: 'handedOver' })
    expect(await member.next()).toMatchObject({ event: 'closed' })
    expect((await member.ended).code).toBe(0)
  })

  test.each(['new:rows', 'new:commit', 'new:adopted'])(
    'a successor that is stopped (SIGSTOP) at %s does not stop the process before, and has nothing when it goes on',
    async (step) => {
      const path = handoverPath()
      const { member, base, clients, stall } = await impatient(path)
      const second = new Member(path, { step, atStep: `${stall}process.kill(process.pid, 'SIGSTOP'); ${block(10)}` })
      await member.expect('handoverFailed')
      await until(() => isStopped(second.process.pid as number))
      expect(await fates(clients)).toEqual(endings.served(member.process.pid as number))
      second.process.kill('SIGCONT')
      expect(await second.expect('failed')).toMatchObject({ left: 0, wrong: [] })
      await accounted(member, base, clients)
    }
  )
})
