/**
 * Random steps of clients and of the program on servers of `hibernate()`: tags, broadcasts, automatic responses,
 * attachments and ends are what a model says.
 */
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KINDS, serveHub } from '../testing/hub.js'
import { Client, close, masked, text } from '../testing/server.js'

/** `n` selects one of the open connections. */
type Step =
  | { name: 'open' }
  | { name: 'client says' | 'client asks' | 'program says' | 'client closes' | 'program closes'; n: number }
  | { name: 'client resets' | 'program terminates' | 'keeps'; n: number }
  | { name: 'tags'; n: number; tags: string[] }
  | { name: 'broadcast'; tag: string | undefined }

const n = fc.nat(20)
const tag = fc.constantFrom('a', 'b', 'c', 'd')
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ name: fc.constant('open' as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ name: fc.constantFrom('client says' as const, 'client asks', 'program says', 'keeps'), n })
  },
  {
    weight: 2,
    arbitrary: fc.record({
      name: fc.constantFrom('client closes' as const, 'program closes', 'client resets', 'program terminates'),
      n
    })
  },
  { weight: 4, arbitrary: fc.record({ name: fc.constant('tags' as const), n, tags: fc.array(tag, { maxLength: 4 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ name: fc.constant('broadcast' as const), tag: fc.option(tag, { nil: undefined }) })
  }
)

/** What the model knows of an open connection. */
interface Model {
  id: number
  client: Client
  tags: Set<string>
  /** Texts that the client has to receive. */
  expected: string[]
  attachment: number | undefined
  asked: boolean
}

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await turn()
}

/** Texts in the frames that a client has received. */
function texts(received: Buffer): string[] {
  const found: string[] = []
  for (let at = 0; at < received.length; at += 2 + (received[at + 1] as number)) {
    if (received[at] === 0x81) found.push(received.toString('utf8', at + 2, at + 2 + (received[at + 1] as number)))
  }
  return found
}

test.each(KINDS)('%s', async (kind) => {
  let said = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
      const server = await serveHub(kind, {}, { autoResponse: { request: 'ping', response: 'pong' } })
      const { hub, port, events, sockets } = server
      const open: Model[] = []
      const ended: number[] = []
      const kept = new Map<number, (typeof sockets)[0]>()
      const leaves = async (one: Model): Promise<void> => {
        await until(() => events.some(([name, , , , id]) => name === 'close' && id === one.id))
        open.splice(open.indexOf(one), 1)
        ended.push(one.id)
        one.client.socket.destroy()
      }
      for (const now of steps) {
        const one = 'n' in now && open.length > 0 ? open[now.n % open.length] : undefined
        const socket = one && hub.get(one.id)
        const line = `${++said}`
        if (now.name === 'open') {
          const client = await Client.connect(port)
          await until(() => sockets.length === open.length + ended.length + 1)
          const { id } = sockets.at(-1) as { id: number }
          open.push({ id, client, tags: new Set(), expected: [], attachment: undefined, asked: false })
        } else if (now.name === 'broadcast') {
          const meant = open.filter(({ tags }) => now.tag === undefined || tags.has(now.tag))
          expect(await hub.broadcast(line, now.tag)).toBe(meant.length)
          for (const { expected } of meant) expected.push(line)
        } else if (one === undefined || socket === undefined) continue
        else if (now.name === 'tags') {
          socket.tags = now.tags
          one.tags = new Set(now.tags)
        } else if (now.name === 'keeps') {
          socket.attachment = said
          one.attachment = said
          kept.set(one.id, socket)
        } else if (now.name === 'program says') {
          expect(socket.send(line)).toBe(true)
          one.expected.push(line)
        } else if (now.name === 'client says') {
          one.client.send(line)
          await until(() => events.some(([name, data]) => name === 'message' && data === line))
        } else if (now.name === 'client asks') {
          one.client.send(text('ping'))
          one.expected.push('pong')
          one.asked = true
          await one.client.until(() => texts(one.client.received).length === one.expected.length)
        } else if (now.name === 'client closes') {
          one.client.send(close(4000))
          await one.client.end()
          one.client.socket.end()
          await leaves(one)
        } else if (now.name === 'program closes') {
          socket.close(4001)
          expect(socket.send('late')).toBe(false)
          await one.client.until(() => one.client.received.includes(Buffer.from([0x88, 2, 0x0f, 0xa1])))
          one.client.send(masked(0x88, Buffer.from([0x0f, 0xa1])))
          await one.client.end()
          one.client.socket.end()
          await leaves(one)
        } else if (now.name === 'client resets') {
          one.client.socket.resetAndDestroy()
          await leaves(one)
        } else {
          socket.terminate()
          await leaves(one)
        }
        // The server is as the model says.
        expect(hub.size).toBe(open.length)
        expect([...hub.sockets()].map(({ id }) => id).sort()).toEqual(open.map(({ id }) => id).sort())
        for (const name of ['a', 'b', 'c', 'd']) {
          const ids = open.filter(({ tags }) => tags.has(name)).map(({ id }) => id)
          expect([...hub.sockets(name)].map(({ id }) => id).sort()).toEqual(ids.sort())
          expect(hub.count(name)).toBe(ids.length)
        }
        for (const { id, tags, attachment, asked } of open) {
          expect(hub.get(id)).toMatchObject({ tags: [...tags], attachment, closed: false })
          expect(hub.autoResponseTimestamp(id) !== undefined).toBe(asked)
        }
        for (const id of ended) {
          expect(hub.get(id)).toBeUndefined()
          expect(kept.get(id)?.closed ?? true).toBe(true)
        }
      }
      for (const { client, expected } of open) {
        await client.until(() => texts(client.received).length >= expected.length)
        expect(texts(client.received)).toEqual(expected)
      }
      const ends = open.slice().map(async (one) => {
        one.client.socket.destroy()
        await leaves(one)
      })
      await Promise.all(ends)
      expect([hub.size, hub.count('a')]).toEqual([0, 0])
      expect(events.filter(([name]) => name === 'close')).toHaveLength(sockets.length)
      await hub.close()
    }),
    { numRuns: 15 }
  )
})
