import { once } from 'node:events'
import fs from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { readTcpTable, readUnixTable } from './proc-net.js'

async function listen(where: object): Promise<net.Server> {
  const server = net.createServer((socket) => socket.resume()).listen(where)
  await once(server, 'listening')
  onTestFinished(async () => {
    server.close()
    await once(server, 'close')
  })
  return server
}

async function connect(where: net.NetConnectOpts): Promise<void> {
  const socket = net.connect(where)
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
}

/** The inode of a server's socket, as `/proc/self/fd` has it. */
function inodeOf(server: net.Server): number {
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  return Number(/\d+/.exec(fs.readlinkSync(`/proc/self/fd/${fd}`))?.[0])
}

test.each([
  [4, '127.0.0.1', '7f000001'],
  [6, '::1', `${'0'.repeat(31)}1`]
] as const)('reads listening sockets and connections of IPv%i', async (family, host, address) => {
  const server = await listen({ port: 0, host })
  const { port } = server.address() as AddressInfo
  await connect({ port, host })
  const found: object[] = []
  readTcpTable('self', family, (socket) => {
    if (socket.port === port) found.push({ ...socket, address: socket.address.toString('hex') })
  })
  expect(found).toEqual([
    { listens: true, port, address, inode: inodeOf(server) },
    { listens: false, port, address, inode: expect.any(Number) }
  ])
})

test('reads Unix sockets with a name: of files, with blanks in it, and abstract', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-'))
  onTestFinished(() => fs.rmSync(folder, { recursive: true }))
  const file = path.join(folder, 'a b.sock')
  const name = `ebb-test-${process.pid}`
  const [server, abstract] = [await listen({ path: file }), await listen({ path: `\0${name}` })]
  await connect({ path: file })
  const own = readUnixTable('self').filter((socket) => socket.path === file || socket.path.startsWith(`@${name}`))
  expect(own).toHaveLength(3)
  expect(own).toContainEqual({ path: file, listens: true, connected: false, inode: inodeOf(server) })
  expect(own).toContainEqual({ path: file, listens: false, connected: true, inode: expect.any(Number) })
  expect(own).toContainEqual(expect.objectContaining({ listens: true, inode: inodeOf(abstract) }))
})
