/** A process with many connections, which is killed in a test. */
import { expect } from 'vitest'
import { type EchoClient, echoClients, eventually, type Line, Member, type MemberOptions } from './handover.js'

/** Number of connections: three messages of rows: 253, 253 and 94. */
export const COUNT = 600
/** Fate of a connection that nobody serves. */
export const CLOSED = 'closed'

/** Starts a process with connections. Half of them have an attachment, some a large one. */
export async function startCrowd(path: string, options: MemberOptions = {}): Promise<Crowd> {
  const member = new Member(path, options)
  const ready = await member.expect('ready')
  const base = await member.value<number>('sockets()')
  const clients = await echoClients(ready, COUNT)
  await Promise.all(
    clients.map((client, i) => client.ask(i % 100 === 0 ? 'big:100000' : i % 2 ? `keep:${i}` : 'hello'))
  )
  await eventually(() => member.value('idle()')).toBe(COUNT)
  return { member, ready, base, clients }
}

/** A process with connections. */
export interface Crowd {
  member: Member
  ready: Line
  /** Sockets of the process without clients. */
  base: number
  clients: EchoClient[]
}

/** Returns by whom each connection is served, if by anyone. */
export async function fates(clients: readonly EchoClient[]): Promise<Map<number | string, number>> {
  const counts = new Map<number | string, number>()
  const count = (fate: number | string): void => void counts.set(fate, (counts.get(fate) ?? 0) + 1)
  await Promise.all(
    clients.map(async (client, i) => {
      try {
        const { pid, kept } = await client.ask('who')
        const expected = i % 100 === 0 ? 100_000 : i % 2 ? String(i) : undefined
        expect(kept).toBe(expected)
        count(pid)
      } catch (error) {
        if (!String(error).includes('closed in place')) throw error
        count(CLOSED)
      }
    })
  )
  return counts
}

/** Checks that all of it is gone when the clients are: descriptors, rows, timers. */
export async function accounted(member: Member, base: number, clients: readonly EchoClient[]): Promise<void> {
  for (const { socket } of clients) socket.destroy()
  await eventually(() => member.value('open()')).toBe(0)
  expect(await member.value('audit()')).toEqual([])
  // The socket to the process before is closed when that process ends.
  await eventually(() => member.value('sockets()')).toBe(base)
}
