import { execFileSync, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, writeFileSync, writeSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { descriptors, directory, quiet, until } from '../../../../test/support/sockets.js'
import { reactor } from '../sys/reactor.js'
import { type PressureSource, PressureWatch, pressureSource } from './pressure.js'

/** A watch that counts its calls. */
function watched(path: string, write?: Buffer): { calls: () => number; close(): void } {
  let calls = 0
  const watch = new PressureWatch({ path, write, from: 'MEMORY_PRESSURE_WATCH' }, () => calls++)
  onTestFinished(() => watch.close())
  return { calls: () => calls, close: () => watch.close() }
}

function fifo(): string {
  const path = join(directory(), 'pressure')
  execFileSync('mkfifo', [path])
  return path
}

/** A service manager's socket, and who has connected to it. */
async function manager(): Promise<{ path: string; sockets: Socket[]; server: Server }> {
  const path = join(directory(), 'pressure')
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.on('error', () => {}))).listen(path)
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise((resolve) => server.once('listening', resolve))
  return { path, sockets, server }
}

test('a FIFO: each time that something is written to it, and whoever comes and goes', async () => {
  const path = fifo()
  const { calls, close } = watched(path)
  for (let i = 1; i <= 3; i++) {
    const writer = openSync(path, 'w')
    writeSync(writer, 'x')
    closeSync(writer)
    await until(() => calls() === i)
    await quiet()
    expect(calls()).toBe(i)
  }
  close()
})

test('a socket: each time that something comes', async () => {
  const { path, sockets } = await manager()
  const { calls } = watched(path)
  await until(() => sockets.length === 1)
  for (let i = 1; i <= 3; i++) {
    sockets[0]?.write('some pressure\n')
    await until(() => calls() === i)
    await quiet()
    expect(calls()).toBe(i)
  }
})

test('a socket is told what MEMORY_PRESSURE_WRITE says', async () => {
  const { path, sockets } = await manager()
  watched(path, Buffer.from('some 150000 2000000\0'))
  await until(() => sockets.length === 1)
  const told = await new Promise((resolve) => sockets[0]?.once('data', resolve))
  expect(String(told)).toBe('some 150000 2000000\0')
})

test('a manager that goes is no pressure, and is not asked again and again', async () => {
  const { path, sockets } = await manager()
  const before = reactor().watched
  const { calls } = watched(path)
  expect(reactor().watched).toBe(before + 1)
  await until(() => sockets.length === 1)
  sockets[0]?.destroy()
  await until(() => reactor().watched === before)
  expect(calls()).toBe(0)
})

test('what it had said before it went is heard', async () => {
  const { path, sockets } = await manager()
  const before = reactor().watched
  const { calls } = watched(path)
  await until(() => sockets.length === 1)
  sockets[0]?.end('x')
  await until(() => reactor().watched === before)
  expect(calls()).toBe(1)
})

test('closed: nothing more is heard, and no descriptor is left', async () => {
  reactor()
  const { path, sockets } = await manager()
  const before = descriptors()
  const { calls, close } = watched(path)
  await until(() => sockets.length === 1)
  close()
  close()
  await until(() => descriptors() === before + 1)
  sockets[0]?.write('x')
  await quiet()
  expect(calls()).toBe(0)
})

/** Whether this user may have a trigger on this kernel. */
const psi = (() => {
  if (!existsSync('/proc/pressure/memory')) return false
  try {
    new PressureWatch(
      { path: '/proc/pressure/memory', write: Buffer.from('some 200000 2000000\0'), from: '' },
      () => {}
    ).close()
    return true
  } catch {
    return false
  }
})()

test.skipIf(!psi)('the kernel’s file takes a trigger, and is quiet when memory is not short', async () => {
  const before = reactor().watched
  const { calls, close } = watched('/proc/pressure/memory', Buffer.from('some 1900000 2000000\0'))
  await quiet()
  expect(reactor().watched).toBe(before + 1)
  expect(calls()).toBe(0)
  close()
  expect(reactor().watched).toBe(before)
})

/** A memory group of v1 of its own, where this user may make one. */
const own = /^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? ''
const group = join('/sys/fs/cgroup/memory', own, `ebb-pressure-${process.pid}`)
const grouped = (() => {
  try {
    mkdirSync(group)
    return existsSync(join(group, 'memory.limit_in_bytes'))
  } catch {
    return false
  } finally {
    if (existsSync(group)) rmdirSync(group)
  }
})()

test.skipIf(!psi || !grouped)('memory is short in a group of v1, and the kernel calls', async () => {
  mkdirSync(group)
  onTestFinished(async () => {
    await until(() => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '')
    rmdirSync(group)
  })
  writeFileSync(join(group, 'memory.limit_in_bytes'), String(8 * 2 ** 20))
  const { calls } = watched('/proc/pressure/memory', Buffer.from('some 20000 2000000\0'))
  // Reads a file that is larger than its group may hold, again and again.
  const file = join(directory(), 'file')
  const thrash = `echo $$ > ${group}/cgroup.procs; dd if=/dev/zero of=${file} bs=1M count=32 2> /dev/null; while cat ${file} > /dev/null; do :; done`
  const shell = spawn('sh', ['-c', thrash])
  const ended = new Promise((resolve) => shell.once('close', resolve))
  try {
    await until(() => calls() > 1)
  } finally {
    shell.kill()
    await ended
  }
})

test.skipIf(!psi)('a trigger that the kernel does not take', () => {
  const before = descriptors()
  expect(() => watched('/proc/pressure/memory', Buffer.from('nonsense'))).toThrow(
    expect.objectContaining({ code: 'EINVAL' })
  )
  expect(descriptors()).toBe(before)
})

test('what cannot be watched: a file on a disk, nothing, a socket where nobody listens', async () => {
  reactor()
  const folder = directory()
  const file = join(folder, 'file')
  writeFileSync(file, '')
  const before = descriptors()
  expect(() => watched(file)).toThrow(expect.objectContaining({ code: 'EPERM', syscall: 'epoll_ctl' }))
  expect(() => watched(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  expect(descriptors()).toBe(before)
  const { path, server } = await manager()
  const left = `${path}-left`
  execFileSync('ln', [path, left])
  await new Promise((resolve) => server.close(resolve))
  expect(() => watched(left)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED', syscall: 'connect' }))
  expect(descriptors()).toBe(before)
})

test('does not hold the process open', async () => {
  const child = new Child(
    `
    import { govern } from 'ebb'
    console.log(JSON.stringify(govern().stats().watching))`,
    { shell: `export MEMORY_PRESSURE_WATCH=${fifo()}` }
  )
  expect(await child.next()).toMatch(/pressure$/)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

const trigger = Buffer.from('some 200000 2000000\0')

test.each<[string, Record<string, string>, string | undefined, PressureSource | undefined]>([
  [
    'systemd’s',
    { MEMORY_PRESSURE_WATCH: '/run/x', MEMORY_PRESSURE_WRITE: 'c29tZSAxNTAwMDAgMjAwMDAwMAA=' },
    '/proc/self/stat',
    { path: '/run/x', write: Buffer.from('some 150000 2000000\0'), from: 'MEMORY_PRESSURE_WATCH' }
  ],
  [
    'systemd’s, without anything to write',
    { MEMORY_PRESSURE_WATCH: '/run/x' },
    undefined,
    { path: '/run/x', write: undefined, from: 'MEMORY_PRESSURE_WATCH' }
  ],
  ['none: the service is not to', { MEMORY_PRESSURE_WATCH: '/dev/null' }, '/proc/self/stat', undefined],
  ['the group’s', {}, '/proc/self/stat', { path: '/proc/self/stat', write: trigger, from: '/proc/self/stat' }],
  [
    'the group’s',
    { MEMORY_PRESSURE_WATCH: '' },
    '/proc/self/stat',
    { path: '/proc/self/stat', write: trigger, from: '/proc/self/stat' }
  ]
])('where: %s', (_, environment, cgroup, source) => {
  expect(pressureSource(environment, cgroup)).toEqual(source)
})

test.skipIf(!existsSync('/proc/pressure/memory'))('where: else the machine’s', () => {
  const source = { path: '/proc/pressure/memory', write: trigger, from: '/proc/pressure/memory' }
  expect(pressureSource({}, undefined)).toEqual(source)
  expect(pressureSource({}, '/sys/fs/cgroup/none')).toEqual(source)
})

test.each([
  { MEMORY_PRESSURE_WATCH: 'relative' },
  { MEMORY_PRESSURE_WATCH: '/run/x', MEMORY_PRESSURE_WRITE: 'not Base64!' },
  { MEMORY_PRESSURE_WATCH: '/run/x', MEMORY_PRESSURE_WRITE: 'abcd=efg' }
])('variables that cannot be: %j', (environment) => {
  expect(() => pressureSource(environment, undefined)).toThrow(
    expect.objectContaining({
      name: 'TypeError',
      message: expect.stringMatching(/^MEMORY_PRESSURE_(WATCH|WRITE) must be /)
    })
  )
})
