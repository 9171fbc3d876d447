/**
 * A process is killed with SIGKILL after the handover, while connections that were not at rest follow; or when it has
 * lost patience, or learns that the other one has. `EBB_ROUNDS=50` repeats each step with other numbers of connections.
 */
import { writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  type EchoClient,
  echoClients,
  eventually,
  handoverPath,
  Member,
  type MemberOptions,
  ONLY_BYTES_WAKE
} from '../support/handover.js'
import { at, CLOCK, milestone, type Patience, patience, reach, waitFor } from '../support/patience.js'

const ROUNDS = Number(process.env.EBB_ROUNDS ?? 1)
const rounds = Array.from({ length: ROUNDS }, (_, round) => round)
/** Descriptors of a message. */
const MESSAGE = 253

/** An echo server that keeps its connections awake from `hold` to a call of `free()`. */
const HOLDING = `
  const held = []
  const free = () => { for (const connection of held) connection.keepAwake = false }
  const servers = createServer({ ${ONLY_BYTES_WAKE} }, (socket, connection) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      const text = bytes.toString()
      if (text.startsWith('hold')) {
        connection.keepAwake = true
        connection.attachment = text
        held.push(connection)
      }
      const { id, wakes, attachment: kept } = connection
      socket.write(JSON.stringify({ pid: process.pid, id, wakes, kept, text }) + '\\n')
    })
  })
  const listen = { port: 0, host: '127.0.0.1' }
`

interface Crowd {
  first: Member
  second: Member
  parked: EchoClient[]
  late: EchoClient[]
}

/** Numbers of connections for a round: `late` takes more than one message. */
function sizes(round: number): { parked: number; late: number } {
  const seed = (round * 2_654_435_761) >>> 0
  return { parked: 1 + (seed % 200), late: MESSAGE + 1 + ((seed >>> 8) % 200) }
}

/**
 * Hands over from a process with parked and awake connections. The awake ones come to rest, and follow.
 *
 * @param meanwhile what the successor evaluates before
 */
async function moving(round: number, first: MemberOptions, second: MemberOptions, meanwhile = ''): Promise<Crowd> {
  const path = handoverPath()
  const options = { servers: `${CLOCK}${HOLDING}`, options: { grace: '1h' } }
  const old = new Member(path, { ...options, ...first })
  const ready = await old.expect('ready')
  const count = sizes(round)
  const parked = await echoClients(ready, count.parked)
  const late = await echoClients(ready, count.late)
  await Promise.all(parked.map((client) => client.ask('x')))
  await Promise.all(late.map((client, i) => client.ask(`hold ${i}`)))
  await eventually(() => old.value('first.stats().parked')).toBe(count.parked)
  const next = new Member(path, { ...options, ...second })
  expect((await next.expect('ready')).from).toMatchObject({ connections: count.parked, awake: count.late })
  await old.expect('handedOver')
  if (meanwhile !== '') await next.value(meanwhile)
  old.tell('free()')
  return { first: old, second: next, parked, late }
}

/** Returns how many connections each process serves; 0 stands for those that are closed. */
async function fates(clients: readonly EchoClient[], isHeld = false): Promise<Map<number, number>> {
  const counts = new Map<number, number>()
  await Promise.all(
    clients.map(async (client, i) => {
      const answer = await client.ask(`who ${i}`).catch((error: Error) => {
        if (!error.message.includes('closed in place')) throw error
      })
      if (answer !== undefined) {
        expect(answer.text).toBe(`who ${i}`)
        expect(answer.kept).toBe(isHeld ? `hold ${i}` : undefined)
      }
      const pid = answer?.pid ?? 0
      counts.set(pid, (counts.get(pid) ?? 0) + 1)
    })
  )
  return counts
}

const pidOf = (member: Member): number => member.process.pid as number

async function accounted(member: Member, clients: readonly EchoClient[]): Promise<void> {
  for (const { socket } of clients) socket.destroy()
  await eventually(() => member.value('first.stats().parked + first.stats().awake')).toBe(0)
  expect(await member.value('audit()')).toEqual([])
}

describe.each(rounds)('round %i: connections that follow', (round) => {
  test('the successor is killed at COMMIT: the process before has them, until its grace is over', async () => {
    const { first, second, parked, late } = await moving(round, {}, { step: 'new:late commit' })
    expect((await second.ended).signal).toBe('SIGKILL')
    expect(await fates(late, true)).toEqual(new Map([[pidOf(first), late.length]]))
    expect(await fates(parked)).toEqual(new Map([[0, parked.length]]))
    await first.value('ahead = 3_600_000')
    expect((await first.ended).code).toBe(0)
    expect(await fates(late, true)).toEqual(new Map([[0, late.length]]))
  })

  test('the successor is killed after DONE: all are closed, and the process before ends', async () => {
    const { first, second, parked, late } = await moving(round, {}, { step: 'new:late done' })
    expect((await second.ended).signal).toBe('SIGKILL')
    expect(await fates([...parked, ...late])).toEqual(new Map([[0, parked.length + late.length]]))
    expect((await first.ended).code).toBe(0)
  })

  test('the successor has no descriptors left: the process before has them, until its grace is over', async () => {
    const exhaust = `(() => { for (;;) try { fs.openSync('/dev/null') } catch { return 1 } })()`
    const { first, second, parked, late } = await moving(round, {}, { shell: 'ulimit -n 700' }, exhaust)
    expect(await fates(late, true)).toEqual(new Map([[pidOf(first), late.length]]))
    expect(await fates(parked)).toEqual(new Map([[pidOf(second), parked.length]]))
    await first.value('ahead = 3_600_000')
    expect((await first.ended).code).toBe(0)
    expect(await fates(late, true)).toEqual(new Map([[0, late.length]]))
    await accounted(second, [...parked, ...late])
  })

  test.each([
    // The first message of rows is that of the handover itself.
    { step: 'old:rows', after: 1, sent: MESSAGE },
    { step: 'old:rows', after: 2, sent: Number.POSITIVE_INFINITY },
    { step: 'old:late commit', after: 0, sent: Number.POSITIVE_INFINITY },
    { step: 'old:bye', after: 0, sent: Number.POSITIVE_INFINITY }
  ])(
    'the process before is killed at $step ($after): the successor has what was sent',
    async ({ step, after, sent }) => {
      const { first, second, parked, late } = await moving(round, { step, after }, {})
      expect((await first.ended).signal).toBe('SIGKILL')
      const served = Math.min(sent, late.length)
      const counts = await fates(late, true)
      expect(counts.get(pidOf(second))).toBe(served)
      expect(counts.get(0) ?? 0).toBe(late.length - served)
      expect(await fates(parked)).toEqual(new Map([[pidOf(second), parked.length]]))
      await accounted(second, [...parked, ...late])
    }
  )
})

describe.each(rounds)('round %i: patience', (round) => {
  interface Impatient extends Patience {
    path: string
    first: Member
    clients: EchoClient[]
  }

  /** A process with connections that loses patience when its successor stalls. */
  async function start({ before = '', ...options }: MemberOptions & { before?: string } = {}): Promise<Impatient> {
    const path = handoverPath()
    const patient = patience()
    const servers = `${patient.source}${before}${HOLDING}`
    const first = new Member(path, { servers, options: patient.options, ...options })
    const clients = await echoClients(await first.expect('ready'), sizes(round).late)
    await Promise.all(clients.map((client) => client.ask('x')))
    await eventually(() => first.value('first.stats().parked')).toBe(clients.length)
    return { ...patient, path, first, clients }
  }

  test('the process before is killed before it says ABORT: the successor has all', async () => {
    const over = milestone()
    const { path, first, clients, stall } = await start({ step: 'old:impatient' })
    const second = new Member(path, { servers: HOLDING, step: 'new:adopted', atStep: `${stall}${waitFor(over)}` })
    expect((await first.ended).signal).toBe('SIGKILL')
    writeFileSync(over, '')
    expect((await second.expect('ready')).from).toMatchObject({ connections: clients.length })
    expect(await fates(clients)).toEqual(new Map([[pidOf(second), clients.length]]))
    await accounted(second, clients)
  })

  test('the process before is killed after ABORT: all are closed, and the successor has none', async () => {
    const over = milestone()
    const { path, first, clients, stall } = await start({ step: 'old:aborted' })
    const second = new Member(path, { servers: HOLDING, step: 'new:adopted', atStep: `${stall}${waitFor(over)}` })
    expect((await first.ended).signal).toBe('SIGKILL')
    writeFileSync(over, '')
    expect(await second.expect('failed')).toMatchObject({ left: 0, wrong: [] })
    expect(await fates(clients)).toEqual(new Map([[0, clients.length]]))
  })

  test('the successor is killed when its DONE came too late: the process before goes on', async () => {
    const over = milestone()
    const { path, first, clients, stall } = await start()
    const slow = at('new:adopted', `${stall}${waitFor(over)}`)
    const second = new Member(path, { servers: `${slow}${HOLDING}`, step: 'new:doubt' })
    await first.expect('handoverFailed')
    writeFileSync(over, '')
    expect((await second.ended).signal).toBe('SIGKILL')
    expect(await fates(clients)).toEqual(new Map([[pidOf(first), clients.length]]))
    await accounted(first, clients)
  })

  test.each(['old:done', 'old:surrendered'])(
    'the process before is killed at %s, after a DONE at the last moment: the successor has all',
    async (step) => {
      const [last, done] = [milestone(), milestone()]
      const before = at('old:impatient', `${reach(last)}${waitFor(done)}`)
      const { path, first, clients, stall } = await start({ before, step })
      const servers = `${at('new:adopted', `${stall}${waitFor(last)}`)}${at('new:done', reach(done))}${HOLDING}`
      const second = new Member(path, { servers })
      await second.expect('ready')
      expect((await first.ended).signal).toBe('SIGKILL')
      expect(await fates(clients)).toEqual(new Map([[pidOf(second), clients.length]]))
      await accounted(second, clients)
    }
  )

  test('the successor is killed right after a DONE at the last moment: all are closed', async () => {
    const [last, done] = [milestone(), milestone()]
    const atStep = `${reach(last)}${waitFor(done)}`
    const { path, first, clients, stall } = await start({ step: 'old:impatient', atStep })
    const servers = `${at('new:adopted', `${stall}${waitFor(last)}`)}${HOLDING}`
    const killed = `${reach(done)}process.kill(process.pid, 'SIGKILL')`
    const second = new Member(path, { servers, step: 'new:done', atStep: killed })
    expect((await second.ended).signal).toBe('SIGKILL')
    await first.expect('handedOver')
    expect(await fates(clients)).toEqual(new Map([[0, clients.length]]))
    expect((await first.ended).code).toBe(0)
  })
})
