import { type AddressInfo, createServer, type Server } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { addressesFor, addressesOf, answeringAddress } from './addresses.js'
import { pulse } from './pulse.js'

async function listen(host: string, port = 0): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => void socket.on('error', () => {}).resume())
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve))
  onTestFinished(() => void server.close())
  return { server, port: (server.address() as AddressInfo).port }
}

test('returns the first address that answers', async () => {
  const { port } = await listen('::1')
  expect(await answeringAddress(['127.0.0.1', '::1'], port, 5000)).toBe('::1')
  await listen('127.0.0.1', port)
  expect(await answeringAddress(['127.0.0.1', '::1'], port, 5000)).toBe('127.0.0.1')
  expect(await answeringAddress(['::1', '127.0.0.1'], port, 5000)).toBe('::1')
})

test('returns the first address if none answers, and after an abort', async () => {
  const { server, port } = await listen('127.0.0.1')
  await new Promise((resolve) => server.close(resolve))
  expect(await answeringAddress(['127.0.0.1', '127.0.0.2'], port, 5000)).toBe('127.0.0.1')
  expect(await answeringAddress(['127.0.0.2', '127.0.0.1'], port, 5000, AbortSignal.abort())).toBe('127.0.0.2')
})

test('does not try a single address', async () => {
  const { server, port } = await listen('127.0.0.1')
  let connections = 0
  server.on('connection', () => connections++)
  expect(await answeringAddress(['127.0.0.1'], port, 5000)).toBe('127.0.0.1')
  await answeringAddress(['127.0.0.1', '127.0.0.2'], port, 5000)
  await expect.poll(() => connections).toBe(1)
})

test('addresses of the family of a source', () => {
  const both = ['10.0.0.1', '2001:db8::1'] as const
  expect(addressesFor(both, [])).toEqual(both)
  expect(addressesFor(both, ['::1'])).toEqual(['2001:db8::1'])
  expect(addressesFor(both, ['127.0.0.1', '::1'])).toEqual(both)
  expect(addressesFor(['10.0.0.1'], ['::1'])).toEqual(['10.0.0.1'])
})

test('pulse() reaches a server on either address of localhost', async () => {
  expect(await addressesOf('localhost')).toEqual(expect.arrayContaining(['127.0.0.1', '::1']))
  for (const host of ['127.0.0.1', '::1']) {
    const { port } = await listen(host)
    const plan = { big: 3, iterations: 1, pulses: 0, linger: 0, bigSeparation: 0 }
    expect(await pulse({ host: 'localhost', port }, plan)).toMatchObject({ connected: 3, failed: {} })
  }
})
