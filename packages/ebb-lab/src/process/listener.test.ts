import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { findListener, findRoot, listeningOf } from './listener.js'

const children: ChildProcess[] = []
const servers: net.Server[] = []
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const server of servers.splice(0)) server.close()
})

async function listen(host: string): Promise<number> {
  const server = net.createServer().listen(0, host)
  servers.push(server)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

const hasV6 = await listen('::1').then(
  () => true,
  () => false
)

test.each(['127.0.0.1', '0.0.0.0', ...(hasV6 ? ['::1', '::'] : [])])(
  'finds the process that listens on %s',
  async (host) => {
    const port = await listen(host)
    expect(findListener(port)).toBe(process.pid)
  }
)

test.runIf(hasV6)('reports an IPv4 address on an IPv6 socket as IPv4', async () => {
  const port = await listen('::ffff:127.0.0.1')
  expect(listeningOf(process.pid)).toContainEqual({ pid: process.pid, port, host: '127.0.0.1' })
})

test('does not take a connection for a listener', async () => {
  const port = await listen('127.0.0.1')
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  try {
    expect(() => findListener(socket.localPort as number)).toThrow(`no process listens on port ${socket.localPort}`)
  } finally {
    socket.destroy()
  }
})

test('throws ESRCH if no process listens', async () => {
  const port = await listen('127.0.0.1')
  await new Promise((resolve) => servers.pop()?.close(resolve))
  expect(() => findListener(port)).toThrow(expect.objectContaining({ code: 'ESRCH', name: 'RecordError' }))
})

test('names all processes that listen', async () => {
  const script = `
    const server = require('net').createServer().listen(0, '127.0.0.1', () => {
      require('child_process').spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', server._handle] })
        .on('spawn', function () { console.log(server.address().port, this.pid) })
    })`
  const child = spawn(process.execPath, ['-e', script], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer]
  const [port, second] = chunk.toString().trim().split(' ').map(Number)
  try {
    const pids = [child.pid, second].sort((a, b) => Number(a) - Number(b)).join(', ')
    expect(() => findListener(port as number)).toThrow(`2 processes listen on port ${port}: ${pids}`)
    // The process that started the other one.
    expect(findRoot(port as number)).toBe(child.pid)
  } finally {
    process.kill(-(child.pid as number), 'SIGKILL')
  }
})

test.skipIf(process.geteuid?.() !== 0)('throws EACCES for a process of another user (as root)', async () => {
  const script = `
    const server = require('net').createServer().listen(0, '127.0.0.1', () => console.log(server.address().port))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const port = Number(((await once(child.stdout, 'data')) as [Buffer])[0])
  expect(findListener(port)).toBe(child.pid)
  process.seteuid?.(65534)
  try {
    expect(() => findListener(port)).toThrow(
      expect.objectContaining({ code: 'EACCES', message: expect.stringContaining('run as that user or as root') })
    )
  } finally {
    process.seteuid?.(0)
  }
})

test.each([0, 65536, 1.5, Number.NaN])('throws EINVAL: %s is not a port', (port) => {
  expect(() => findListener(port)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})
