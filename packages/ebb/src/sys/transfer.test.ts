import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { SCRATCH_SIZE } from './scratch.js'
import { peek, peeked, receiveAndDrop } from './transfer.js'

test('no more is received than the scratch buffer holds', async () => {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [peer] = (await accepted) as [net.Socket]
  onTestFinished(() => {
    client.destroy()
    peer.destroy()
    server.close()
  })
  client.write(Buffer.alloc(3 * SCRATCH_SIZE, 'x'))
  const { fd } = (peer as unknown as { _handle: { fd: number } })._handle
  while (peek(fd, 3 * SCRATCH_SIZE) < SCRATCH_SIZE) await new Promise((resolve) => setImmediate(resolve))
  expect(peek(fd, 3 * SCRATCH_SIZE)).toBe(SCRATCH_SIZE)
  expect(peeked(SCRATCH_SIZE).every((byte) => byte === 120)).toBe(true)
  expect(receiveAndDrop(fd, 2 * SCRATCH_SIZE)).toBeLessThanOrEqual(SCRATCH_SIZE)
})
