import { execFileSync, spawn } from 'node:child_process'
import fs, {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
  writeSync
} from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { descriptors, directory, quiet, until } from '../../../../test/support/sockets.js'
import { reactor } from '../sys/reactor.js'
import { PressureMonitor, type PressureSource, PressureWatch, pressureSource } from './pressure.js'

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

/** A service manager's socket, and the sockets of those that have connected to it. */
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

test('a FIFO: one call for each write, whichever writers come and go', async () => {
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

test('a socket: one call for each message', async () => {
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

test('a socket receives what MEMORY_PRESSURE_WRITE says', async () => {
  const { path, sockets } = await manager()
  watched(path, Buffer.from('some 150000 2000000\0'))
  await until(() => sockets.length === 1)
  const told = await new Promise((resolve) => sockets[0]?.once('data', resolve))
  expect(String(told)).toBe('some 150000 2000000\0')
})

test('the end of the manager is no pressure, and ends the watch', async () => {
  const { path, sockets } = await manager()
  const before = reactor().watched
  const { calls } = watched(path)
  expect(reactor().watched).toBe(before + 1)
  await until(() => sockets.length === 1)
  sockets[0]?.destroy()
  await until(() => reactor().watched === before)
  expect(calls()).toBe(0)
})

test('a message that the manager sent before its end is a call', async () => {
  const { path, sockets } = await manager()
  const before = reactor().watched
  const { calls } = watched(path)
  await until(() => sockets.length === 1)
  sockets[0]?.end('x')
  await until(() => reactor().watched === before)
  expect(calls()).toBe(1)
})

test('close() ends the calls and leaves no descriptor', async () => {
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

/** Whether this user may set a PSI trigger on this kernel. */
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

test.skipIf(!psi)('the kernel accepts a trigger, and does not call while memory is not short', async () => {
  const before = reactor().watched
  const { calls, close } = watched('/proc/pressure/memory', Buffer.from('some 1900000 2000000\0'))
  await quiet()
  expect(reactor().watched).toBe(before + 1)
  expect(calls()).toBe(0)
  close()
  expect(reactor().watched).toBe(before)
})

/** A memory cgroup (v1) for this test, where this user may make one. */
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

test.skipIf(!psi || !grouped)('the kernel calls when memory is short in a cgroup of v1', async () => {
  mkdirSync(group)
  onTestFinished(async () => {
    await until(() => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '')
    rmdirSync(group)
  })
  writeFileSync(join(group, 'memory.limit_in_bytes'), String(8 * 2 ** 20))
  const { calls } = watched('/proc/pressure/memory', Buffer.from('some 20000 2000000\0'))
  // Reads a file again and again that is larger than the limit of its group.
  const file = join(directory(), 'file')
  const thrash = `
    echo $$ > ${group}/cgroup.procs
    dd if=/dev/zero of=${file} bs=1M count=32 2> /dev/null
    while cat ${file} > /dev/null; do :; done`
  const shell = spawn('sh', ['-c', thrash])
  const ended = new Promise((resolve) => shell.once('close', resolve))
  try {
    await until(() => calls() > 1)
  } finally {
    shell.kill()
    await ended
  }
})

test.skipIf(!psi)('a trigger that the kernel refuses is an error', () => {
  const before = descriptors()
  expect(() => watched('/proc/pressure/memory', Buffer.from('nonsense'))).toThrow(
    expect.objectContaining({ code: 'EINVAL' })
  )
  expect(descriptors()).toBe(before)
})

test('a regular file, a missing file, and a socket on which nobody listens are errors', async () => {
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
    'the file that systemd names',
    { MEMORY_PRESSURE_WATCH: '/run/x', MEMORY_PRESSURE_WRITE: 'c29tZSAxNTAwMDAgMjAwMDAwMAA=' },
    '/proc/self/stat',
    { path: '/run/x', write: Buffer.from('some 150000 2000000\0'), from: 'MEMORY_PRESSURE_WATCH' }
  ],
  [
    'the file that systemd names, with nothing to write',
    { MEMORY_PRESSURE_WATCH: '/run/x' },
    undefined,
    { path: '/run/x', write: undefined, from: 'MEMORY_PRESSURE_WATCH' }
  ],
  ['none, if systemd says so', { MEMORY_PRESSURE_WATCH: '/dev/null' }, '/proc/self/stat', undefined],
  [
    'the file of the cgroup',
    {},
    '/proc/self/stat',
    { path: '/proc/self/stat', write: trigger, from: '/proc/self/stat' }
  ],
  [
    'the file of the cgroup, with an empty variable',
    { MEMORY_PRESSURE_WATCH: '' },
    '/proc/self/stat',
    { path: '/proc/self/stat', write: trigger, from: '/proc/self/stat' }
  ]
])('watches %s', (_, environment, cgroup, source) => {
  expect(pressureSource(environment, cgroup)).toEqual(source)
})

test.skipIf(!existsSync('/proc/pressure/memory'))('watches the file of the machine otherwise', () => {
  const source = { path: '/proc/pressure/memory', write: trigger, from: '/proc/pressure/memory' }
  expect(pressureSource({}, undefined)).toEqual(source)
  expect(pressureSource({}, '/sys/fs/cgroup/none')).toEqual(source)
})

test.each([
  { MEMORY_PRESSURE_WATCH: 'relative' },
  { MEMORY_PRESSURE_WATCH: '/run/x', MEMORY_PRESSURE_WRITE: 'not Base64!' },
  { MEMORY_PRESSURE_WATCH: '/run/x', MEMORY_PRESSURE_WRITE: 'abcd=efg' }
])('invalid variables: %j', (environment) => {
  expect(() => pressureSource(environment, undefined)).toThrow(
    expect.objectContaining({
      name: 'TypeError',
      message: expect.stringMatching(/^MEMORY_PRESSURE_(WATCH|WRITE) must be /)
    })
  )
})

describe('a source that cannot be watched', () => {
  /** Makes `open()` of a path for writing fail, as in a container whose cgroup is mounted read-only. */
  function refuse(code: string, ...paths: string[]): void {
    const open = fs.openSync
    const spy = vi.spyOn(fs, 'openSync').mockImplementation((path, flags, mode) => {
      const writes = (Number(flags) & (fs.constants.O_RDWR | fs.constants.O_WRONLY)) !== 0
      if (writes && paths.includes(String(path)))
        throw Object.assign(new Error(`${code}: no, open '${path}'`), { code })
      return open(path, flags, mode)
    })
    onTestFinished(() => spy.mockRestore())
  }

  /** Monitors a source; returns the path that is watched, and the warnings. */
  async function monitored(source: PressureSource, machine: string): Promise<{ path: unknown; warnings: string[] }> {
    const warnings: string[] = []
    const note = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const before = descriptors()
    const monitor = new PressureMonitor(source, () => {}, machine)
    await quiet()
    monitor.close()
    expect(descriptors()).toBe(before)
    return { path: monitor.path, warnings }
  }

  const of = (path: string): PressureSource => ({ path, write: trigger, from: path })

  test.each(['EROFS', 'EACCES', 'EPERM', 'EOPNOTSUPP'])('%s: the file of the machine is watched', async (code) => {
    reactor()
    const [cgroup, machine] = [fifo(), fifo()]
    refuse(code, cgroup)
    expect(await monitored(of(cgroup), machine)).toEqual({ path: machine, warnings: [] })
  })

  describe('but read', () => {
    /** A file of PSI that a test writes. */
    function counters(): { path: string; wait(ms: number): void } {
      const path = join(directory(), 'memory.pressure')
      let total = 5_000_000
      const write = (): void => {
        const averages = 'avg10=0.00 avg60=0.00 avg300=0.00'
        writeFileSync(path, `some ${averages} total=${total}\nfull ${averages} total=0\n`)
      }
      write()
      return {
        path,
        wait(ms) {
          total += ms * 1000
          write()
        }
      }
    }

    test('is read instead: 200 ms of waiting within 2 s are one report', async () => {
      const cgroup = counters()
      refuse('EROFS', cgroup.path)
      const before = descriptors()
      let calls = 0
      const monitor = new PressureMonitor(of(cgroup.path), () => calls++, join(directory(), 'none'))
      expect(monitor.path).toBe(cgroup.path)
      monitor.poll()
      cgroup.wait(190)
      monitor.poll()
      await new Promise((resolve) => setTimeout(resolve, 2100))
      // Too old to count.
      monitor.poll()
      cgroup.wait(190)
      monitor.poll()
      expect(calls).toBe(0)
      cgroup.wait(20)
      monitor.poll()
      monitor.poll()
      await until(() => calls === 1)
      await quiet()
      expect(calls).toBe(1)
      monitor.close()
      expect(descriptors()).toBe(before)
    })

    test('and the machine is watched, too', async () => {
      reactor()
      const [cgroup, machine] = [counters(), fifo()]
      refuse('EROFS', cgroup.path)
      let calls = 0
      const monitor = new PressureMonitor(of(cgroup.path), () => calls++, machine)
      expect(monitor.path).toBe(machine)
      cgroup.wait(300)
      monitor.poll()
      await until(() => calls === 1)
      monitor.close()
    })

    test('a kernel that counts nothing, and a group that is gone, are no alarm', async () => {
      const empty = join(directory(), 'memory.pressure')
      writeFileSync(empty, '')
      refuse('EROFS', empty)
      expect(await monitored(of(empty), join(directory(), 'none'))).toEqual({ path: undefined, warnings: [] })
      const cgroup = counters()
      refuse('EROFS', cgroup.path)
      const monitor = new PressureMonitor(of(cgroup.path), () => {}, join(directory(), 'none'))
      writeFileSync(cgroup.path, '')
      monitor.poll()
      monitor.close()
    })
  })

  test('a file that went missing: the file of the machine is watched', async () => {
    const machine = fifo()
    expect(await monitored(of(join(directory(), 'none')), machine)).toEqual({ path: machine, warnings: [] })
  })

  test('another error: the file of the machine is watched', async () => {
    const [cgroup, machine] = [fifo(), fifo()]
    refuse('EIO', cgroup)
    const { path } = await monitored(of(cgroup), machine)
    expect(path).toBe(machine)
  })

  test('no file works in a container: nothing is watched, without a warning', async () => {
    const [cgroup, machine] = [fifo(), fifo()]
    refuse('EROFS', cgroup, machine)
    expect(await monitored(of(cgroup), machine)).toEqual({ path: undefined, warnings: [] })
    expect(await monitored(of(machine), machine)).toEqual({ path: undefined, warnings: [] })
  })

  test('no file works for another reason: one warning', async () => {
    const [cgroup, machine] = [fifo(), fifo()]
    refuse('EIO', cgroup, machine)
    const { path, warnings } = await monitored(of(cgroup), machine)
    expect(path).toBeUndefined()
    expect(warnings).toEqual([expect.stringContaining(`cannot watch memory pressure (${cgroup}): EIO`)])
  })

  test('MEMORY_PRESSURE_WATCH names it: one warning, and nothing else is watched', async () => {
    const [named, machine] = [fifo(), fifo()]
    refuse('EROFS', named)
    const source = { path: named, write: undefined, from: 'MEMORY_PRESSURE_WATCH' }
    const { path, warnings } = await monitored(source, machine)
    expect(path).toBeUndefined()
    expect(warnings).toEqual([
      expect.stringMatching(/^ebb cannot watch memory pressure \(MEMORY_PRESSURE_WATCH\): EROFS/)
    ])
  })
})
