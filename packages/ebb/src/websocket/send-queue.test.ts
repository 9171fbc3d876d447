import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Entry, SendQueue } from './send-queue.js'

/** All bytes of a queue. */
const taken = (queue: SendQueue): Buffer => Buffer.concat(queue.take().map(({ bytes }: Entry) => bytes))

test('small messages share buffers, in order, beside large ones and those with a callback', () => {
  const message = fc.record({
    length: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 400, max: 9000 })),
    hasCallback: fc.boolean()
  })
  fc.assert(
    fc.property(fc.array(message, { maxLength: 60 }), (messages) => {
      const queue = new SendQueue()
      const all = messages.map(({ length, hasCallback }, i) => {
        const bytes = Buffer.alloc(length, i)
        queue.push(bytes, hasCallback ? () => {} : undefined)
        return bytes
      })
      expect(queue.bytes).toBe(messages.reduce((sum, { length }) => sum + length, 0))
      expect(taken(queue).equals(Buffer.concat(all))).toBe(true)
      expect(queue.bytes).toBe(0)
    }),
    { numRuns: 200 }
  )
})

test('10,000 messages of 12 bytes are a few entries', () => {
  const queue = new SendQueue()
  for (let i = 0; i < 10_000; i++) queue.push(Buffer.alloc(12, i), undefined)
  expect(queue.bytes).toBe(120_000)
  expect(queue.take().length).toBeLessThan(40)
})

test('what is sent in part, and what is pushed in between, keeps its order', async () => {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [peer] = (await accepted) as [net.Socket]
  const { fd } = (client as unknown as { _handle: { fd: number } })._handle
  const queue = new SendQueue()
  const parts: Buffer[] = []
  const push = (i: number): void => {
    const bytes = Buffer.alloc((i % 700) + 1, i)
    parts.push(bytes)
    queue.push(bytes, undefined)
  }
  for (let i = 0; i < 40_000; i++) push(i)
  expect(queue.flush(fd)).toBe(1)
  for (let i = 0; i < 2000; i++) push(i)
  const expected = Buffer.concat(parts)
  const received: Buffer[] = []
  let length = 0
  const all = new Promise<void>((resolve) =>
    peer.on('data', (chunk: Buffer) => {
      received.push(chunk)
      length += chunk.length
      if (queue.bytes > 0) queue.flush(fd)
      if (length === expected.length) resolve()
    })
  )
  peer.resume()
  await all
  expect(Buffer.concat(received).equals(expected)).toBe(true)
  client.destroy()
  server.close()
  peer.destroy()
})
