import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { afterEach, expect, onTestFinished, test } from 'vitest'
import { AF_INET, AF_INET6 } from './constants.js'
import { SocketDiag } from './sock-diag.js'

const open: (net.Server | net.Socket)[] = []
afterEach(async () => {
  for (const item of open.splice(0).reverse()) {
    if (item instanceof net.Socket) item.destroy()
    else {
      item.close()
      await once(item, 'close')
    }
  }
})

function openDiag(): SocketDiag {
  const diag = new SocketDiag()
  onTestFinished(() => diag.close())
  return diag
}

async function listen(host: string): Promise<number> {
  const server = net.createServer((socket) => open.push(socket)).listen(0, host)
  open.unshift(server)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function connect(port: number, host: string): Promise<net.Socket> {
  const socket = net.connect(port, host)
  open.push(socket)
  await once(socket, 'connect')
  return socket
}

test('lists what is listened on, with address and inode', async () => {
  const [four, six] = [await listen('127.0.0.1'), await listen('::1')]
  const found = openDiag().listening()
  expect(found.find(({ port }) => port === four)).toMatchObject({
    family: AF_INET,
    address: Buffer.from([127, 0, 0, 1])
  })
  const loopback = Buffer.alloc(16)
  loopback[15] = 1
  expect(found.find(({ port }) => port === six)).toMatchObject({ family: AF_INET6, address: loopback })
  expect(new Set(found.map(({ inode }) => inode)).size).toBe(found.length)
})

test.each([1, 2, 64, 65])('counts the connections of %i ports, and no others', async (count) => {
  const ports = [await listen('127.0.0.1'), await listen('127.0.0.1'), await listen('127.0.0.1')]
  for (const [i, port] of ports.entries()) for (let n = 0; n <= i; n++) await connect(port, '127.0.0.1')
  // Ports that nobody uses fill the list up.
  const wanted = [...Array.from({ length: Math.max(0, count - 2) }, (_, i) => i + 1), ...ports.slice(1, 1 + count)]
  const counts = new Map<number, number>()
  const addresses = new Set<string>()
  openDiag().connections(AF_INET, wanted.slice(-count), (port, bytes, at) => {
    if (!ports.includes(port)) return
    counts.set(port, (counts.get(port) ?? 0) + 1)
    addresses.add(bytes.subarray(at, at + 4).join('.'))
  })
  // With more than 64 ports, the kernel does not filter.
  const expected = ports.map((_, i) => i + 1)
  expect(ports.map((port) => counts.get(port) ?? 0)).toEqual(
    count > 64 ? expected : expected.map((n, i) => (i >= 1 && i <= count ? n : 0))
  )
  expect([...addresses]).toEqual(['127.0.0.1'])
})

test('finds IPv4 clients of a socket on :: with the family IPv6', async () => {
  const port = await listen('::')
  await connect(port, '127.0.0.1')
  await connect(port, '::1')
  const diag = openDiag()
  const found: string[] = []
  diag.connections(AF_INET6, [port], (_, bytes, at) => found.push(bytes.toString('hex', at, at + 16)))
  expect(found.toSorted()).toEqual([`${'0'.repeat(31)}1`, `${'0'.repeat(20)}ffff7f000001`])
  diag.connections(AF_INET, [], () => found.push('never'))
  expect(found).toHaveLength(2)
})

test('a connection that is closed is no longer counted', async () => {
  const port = await listen('127.0.0.1')
  const [first] = [await connect(port, '127.0.0.1'), await connect(port, '127.0.0.1')]
  const diag = openDiag()
  const count = (): number => {
    let n = 0
    diag.connections(AF_INET, [port], () => n++)
    return n
  }
  expect(count()).toBe(2)
  first?.destroy()
  await expect.poll(count).toBe(1)
})
