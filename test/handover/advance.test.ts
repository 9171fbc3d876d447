/** Connections are sent ahead of a handover, while the process that has them goes on serving them. */
import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { accounted, CLOSED } from '../support/crowd.js'
import {
  type EchoClient,
  echoClient,
  echoClients,
  eventually,
  handoverPath,
  LISTENER,
  type Line,
  Member
} from '../support/handover.js'

/** More than the socket between both processes holds, so that a successor that is stopped stops the sending. */
const COUNT = 2000
const options = { timeout: '20s' }
const kinds = [
  { kind: 'a parked server', servers: undefined },
  { kind: 'a listener', servers: LISTENER }
]

interface Stopped {
  path: string
  member: Member
  second: Member
  ready: Line
  clients: EchoClient[]
  base: number
}

/** A process with many connections, and its successor, which is stopped since it has got the first ones. */
async function stopped(servers: string | undefined): Promise<Stopped> {
  const path = handoverPath()
  const member = new Member(path, { ...(servers && { servers }), options })
  const ready = await member.expect('ready')
  const base = await member.value<number>('sockets()')
  const clients = await echoClients(ready, COUNT)
  await Promise.all(clients.map((client, i) => client.ask(i % 2 === 0 ? 'hello' : `keep:${i}`)))
  await eventually(() => member.value('idle()')).toBe(COUNT)
  const atStep = `print({ event: 'answer' }); process.kill(process.pid, 'SIGSTOP')`
  const second = new Member(path, { ...(servers && { servers }), options, step: 'new:rows', atStep })
  onTestFinished(() => void second.process.kill('SIGKILL'))
  await second.expect('answer')
  await eventually(async () => stateOf(second.process.pid as number)).toBe('T')
  return { path, member, second, ready, clients, base }
}

/** Returns the state of a process: `T` if it is stopped. */
function stateOf(pid: number): string {
  return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] ?? ''
}

/** Has several connections read, changed, closed and made, all of which the process that has them still serves. */
async function change({ member, clients, ready }: Stopped): Promise<EchoClient> {
  const pid = member.process.pid as number
  const asked = clients.slice(0, 100).concat(clients.slice(-100))
  expect(new Set((await Promise.all(asked.map((client) => client.ask('who')))).map((answer) => answer.pid))).toEqual(
    new Set([pid])
  )
  expect(await clients[1]?.ask('keep:changed')).toMatchObject({ pid, kept: 'changed' })
  clients[2]?.socket.destroy()
  const fresh = await echoClient(ready)
  expect(await fresh.ask('keep:fresh')).toMatchObject({ pid, kept: 'fresh' })
  await eventually(() => member.value('idle()')).toBe(COUNT)
  return fresh
}

/** Checks who serves the connections, and that each has its attachment. */
async function checkAll(clients: readonly EchoClient[], fresh: EchoClient, pid: number): Promise<void> {
  const answers = await Promise.all(clients.map((client, i) => (i === 2 ? undefined : client.ask('and now'))))
  for (const [i, answer] of answers.entries()) {
    const kept = i === 1 ? 'changed' : i % 2 === 0 ? undefined : String(i)
    if (i !== 2) expect([answer?.pid, answer?.kept]).toEqual([pid, kept])
  }
  expect(await fresh.ask('and now')).toMatchObject({ pid, kept: 'fresh' })
}

test.each(kinds)('$kind: what changes meanwhile is as new in the successor', async ({ servers }) => {
  const all = await stopped(servers)
  const { member, second, clients, base } = all
  const fresh = await change(all)
  second.process.kill('SIGCONT')
  expect((await second.expect('ready')).from).toMatchObject({ connections: COUNT, awake: 0 })
  await checkAll(clients, fresh, second.process.pid as number)
  if (servers === undefined) await member.expect('handedOver')
  await accounted(second, base, [...clients, fresh])
})

test.each(kinds)(
  '$kind: if the successor is killed meanwhile, the process before has all of it',
  async ({ servers }) => {
    const all = await stopped(servers)
    const { path, member, second, clients, base } = all
    const fresh = await change(all)
    second.process.kill('SIGKILL')
    if (servers === undefined) expect((await member.expect('handoverFailed')).message).toMatch(/successor/)
    await checkAll(clients, fresh, member.process.pid as number)

    // The next one takes over.
    await eventually(() => member.value('idle()')).toBe(COUNT)
    const third = new Member(path, { ...(servers && { servers }) })
    expect((await third.expect('ready')).from).toMatchObject({ connections: COUNT })
    await checkAll(clients, fresh, third.process.pid as number)
    await accounted(third, base, [...clients, fresh])
  }
)

test.each(kinds)('$kind: if the process before is killed meanwhile, what was read is lost', async ({ servers }) => {
  const all = await stopped(servers)
  const { member, second, clients, base } = all
  const fresh = await change(all)
  member.process.kill('SIGKILL')
  second.process.kill('SIGCONT')
  const { from } = await second.expect('ready')
  const asked = [...clients, fresh].map((client) =>
    client.ask('and now').then(
      ({ pid }) => pid,
      () => CLOSED
    )
  )
  const fates = await Promise.all(asked)
  expect(new Set(fates)).toEqual(new Set([second.process.pid, CLOSED]))
  expect(fates.filter((fate) => fate !== CLOSED)).toHaveLength(from?.connections as number)
  // Nothing was sent again since they were read.
  expect(new Set([...fates.slice(0, 100), fates.at(-1)])).toEqual(new Set([CLOSED]))
  await accounted(second, base, [...clients, fresh])
})

test.each(kinds)('$kind: few connections are sent ahead, too, if their attachments are large', async ({ servers }) => {
  const path = handoverPath()
  const atStep = `print({ event: 'answer', value: globalThis.rows })`
  const member = new Member(path, { ...(servers && { servers }), options, step: 'old:away', atStep })
  const ready = await member.expect('ready')
  const base = await member.value<number>('sockets()')
  const size = 9_000_000
  const clients = await echoClients(ready, 20)
  await Promise.all(clients.map((client) => client.ask(`big:${size}`)))
  await eventually(() => member.value('idle()')).toBe(clients.length)
  const count = `globalThis.rows = (globalThis.rows ?? 0) + (name === 'old:rows')`
  await member.value(`void subscribe('ebb:handover', (name) => { ${count} })`)
  const second = new Member(path, { ...(servers && { servers }), options })
  // Each is a message of its own. In the handover itself, all would be in one.
  expect((await member.expect('answer')).value).toBe(clients.length)
  expect((await second.expect('ready')).from).toMatchObject({ connections: clients.length, awake: 0 })
  const pid = second.process.pid as number
  const answers = await Promise.all(clients.map((client) => client.ask('who')))
  expect(answers).toEqual(answers.map(() => expect.objectContaining({ pid, kept: size })))
  await accounted(second, base, clients)
})
