import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { KernelMemory, kernelMemory, pageSize } from './sockstat.js'

function figure(file: string, pattern: RegExp): number {
  return Number(pattern.exec(fs.readFileSync(file, 'utf8'))?.[1] ?? 0)
}

test('the page size is that of getconf', () => {
  expect(pageSize()).toBe(Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' })))
})

test('figures are those of /proc/net/sockstat, in bytes', () => {
  const memory = new KernelMemory()
  try {
    const compare = () => {
      const tcp = figure('/proc/net/sockstat', /^TCP:.* mem (\d+)/m) * pageSize()
      const read = memory.read()
      expect(read.tcp).toBe(tcp)
      expect(read.udp).toBe(figure('/proc/net/sockstat', /^UDP:.* mem (\d+)/m) * pageSize())
      expect(read.fragments).toBe(
        figure('/proc/net/sockstat', /^FRAG:.* memory (\d+)/m) +
          figure('/proc/net/sockstat6', /^FRAG6:.* memory (\d+)/m)
      )
      expect(read.total).toBe(read.tcp + read.udp + read.fragments)
    }
    // Other programs may change the figures between the two reads, but not every time.
    for (let i = 0; ; i++) {
      try {
        compare()
        break
      } catch (error) {
        if (i === 50) throw error
      }
    }
  } finally {
    memory.close()
  }
})

test('counts data that nobody reads', async () => {
  const server = net.createServer((socket) => socket.pause()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const before = kernelMemory().tcp
  const sockets = Array.from({ length: 20 }, () => net.connect((server.address() as AddressInfo).port, '127.0.0.1'))
  try {
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    for (const socket of sockets) socket.write(Buffer.alloc(1_000_000))
    const deadline = Date.now() + 10_000
    while (kernelMemory().tcp <= before && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20))
    expect(kernelMemory().tcp).toBeGreaterThan(before)
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
})

test('reads the namespace of another process, also after that has ended', async () => {
  const child = spawn('/bin/sleep', ['60'])
  await once(child, 'spawn')
  const memory = new KernelMemory(child.pid as number)
  try {
    expect(memory.read().total).toBeGreaterThanOrEqual(0)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(memory.read().total).toBeGreaterThanOrEqual(0)
    expect(() => new KernelMemory(child.pid as number)).toThrow('ENOENT')
  } finally {
    memory.close()
    memory.close()
  }
})
