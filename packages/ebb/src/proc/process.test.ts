import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { countsDescriptorsFast, ProcessError, ProcessView, self } from './process.js'

const children: ChildProcess[] = []
const views: ProcessView[] = []

afterEach(() => {
  for (const view of views.splice(0)) view.close()
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

async function start(command: string, args: string[]): Promise<{ child: ChildProcess; pid: number }> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  await once(child, 'spawn')
  return { child, pid: child.pid as number }
}

function view(pid: number): ProcessView {
  const view = new ProcessView(pid)
  views.push(view)
  return view
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [chunk] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  return chunk.toString().trim()
}

function byHand(file: string, key: string): number {
  const match = new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(file, 'utf8'))
  if (!match) throw new Error(`${file} has no ${key}`)
  return Number(match[1])
}

function failure(what: () => unknown): ProcessError {
  try {
    what()
  } catch (error) {
    if (error instanceof ProcessError) return error
    throw error
  }
  throw new Error('it did not fail')
}

const asRoot = process.geteuid?.() === 0

describe('figures of a process', () => {
  test('are those in /proc', async () => {
    const { child, pid } = await start(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)'])
    await firstLine(child)
    const watched = view(pid)
    process.kill(pid, 'SIGSTOP')
    const status = `/proc/${pid}/status`
    await vi.waitFor(() => expect(fs.readFileSync(status, 'utf8')).toMatch(/^State:\s+T/m))

    expect(watched.status()).toEqual({
      resident: byHand(status, 'VmRSS') * 1024,
      anonymous: byHand(status, 'RssAnon') * 1024,
      swapped: byHand(status, 'VmSwap') * 1024,
      file: (byHand(status, 'RssFile') + byHand(status, 'RssShmem')) * 1024,
      peak: byHand(status, 'VmHWM') * 1024,
      threads: fs.readdirSync(`/proc/${pid}/task`).length
    })
    const rollup = `/proc/${pid}/smaps_rollup`
    // PSS changes when another process maps the same pages, so compare it with a value before and one after.
    const readings = [byHand(rollup, 'Pss') * 1024]
    const shares = watched.smaps()
    readings.push(byHand(rollup, 'Pss') * 1024)
    const unshared = (byHand(rollup, 'Private_Clean') + byHand(rollup, 'Private_Dirty')) * 1024
    expect(shares?.private).toBe(unshared)
    expect(shares?.proportional).toBeGreaterThanOrEqual(Math.min(...readings))
    expect(shares?.proportional).toBeLessThanOrEqual(Math.max(...readings))
    expect(watched.descriptors()).toBe(fs.readdirSync(`/proc/${pid}/fd`).length)
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
    expect(watched.cpu()).toBe((Number(fields[11]) + Number(fields[12])) * 10)
    expect(watched.cpu()).toBeGreaterThan(0)
    expect(watched.startTime).toBe(Number(fields[19]))
    expect(watched.status().anonymous).toBeLessThan(watched.status().resident)
  })

  test('follow what the process does', async () => {
    const script = `
      const fs = require('fs'), kept = []
      console.log('up')
      process.stdin.on('data', () => {
        kept.push(Buffer.alloc(20e6, 1))
        for (let i = 0; i < 100; i++) kept.push(fs.openSync('/dev/null'))
        console.log('done')
      })`
    const { child, pid } = await start(process.execPath, ['-e', script])
    await firstLine(child)
    const watched = view(pid)
    const before = { ...watched.status(), descriptors: watched.descriptors() as number, cpu: watched.cpu() }
    child.stdin?.write('go')
    await firstLine(child)
    const { anonymous, peak, resident } = watched.status()
    expect(anonymous - before.anonymous).toBeGreaterThan(19e6)
    expect(peak).toBeGreaterThanOrEqual(resident)
    expect((watched.descriptors() as number) - before.descriptors).toBe(100)
    expect(watched.cpu()).toBeGreaterThanOrEqual(before.cpu)
  })

  test('are right if its name contains parentheses and blanks', async () => {
    const named = "process.title = 'a) R 1 (b';"
    const busy = 'const end = Date.now() + 200; while (Date.now() < end); console.log(1); setInterval(() => {}, 1000)'
    const { child, pid } = await start(process.execPath, ['-e', named + busy])
    await firstLine(child)
    process.kill(pid, 'SIGSTOP')
    const status = `/proc/${pid}/status`
    await vi.waitFor(() => expect(fs.readFileSync(status, 'utf8')).toMatch(/^State:\s+T/m))
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
    expect(stat).toContain('(a) R 1 (b)')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const watched = view(pid)
    expect(watched.cpu()).toBe((Number(fields[11]) + Number(fields[12])) * 10)
    expect(watched.cpu()).toBeGreaterThan(0)
    expect(watched.startTime).toBe(Number(fields[19]))
    expect(watched.status().resident).toBe(byHand(status, 'VmRSS') * 1024)
  })

  test('of private memory go on after an exec', async () => {
    const { child, pid } = await start('/bin/sh', ['-c', 'read line; exec sleep 60'])
    const watched = view(pid)
    expect(watched.smaps()?.private).toBeGreaterThan(0)
    child.stdin?.write('go\n')
    await vi.waitFor(() => expect(fs.readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('sleep\n'))
    expect(watched.smaps()?.private).toBeGreaterThan(0)
    expect(watched.smaps()?.private).toBeGreaterThan(0)
    expect(watched.status().resident).toBeGreaterThan(0)
  })
})

describe('self', () => {
  test('reads /proc/self/status', () => {
    const kept = Buffer.alloc(20e6, 1)
    const own = self()
    expect(own.anonymous).toBeGreaterThan(kept.length)
    expect(own.threads).toBe(fs.readdirSync('/proc/self/task').length)
  })

  const limit = Number(/Max open files\s+(\d+)/.exec(fs.readFileSync('/proc/self/limits', 'utf8'))?.[1])
  test.skipIf(!(limit <= 200_000))('and a view work without a free descriptor', () => {
    const watched = view(process.ppid)
    self()
    const taken: number[] = []
    try {
      expect(() => {
        for (;;) taken.push(fs.openSync('/dev/null', 'r'))
      }).toThrow('EMFILE')
      expect(self().anonymous).toBeGreaterThan(0)
      expect(watched.status().resident).toBeGreaterThan(0)
      expect(watched.smaps()?.private).toBeGreaterThan(0)
      expect(watched.cpu()).toBeGreaterThanOrEqual(0)
      if (countsDescriptorsFast()) expect(watched.descriptors()).toBeGreaterThan(0)
      expect(failure(() => new ProcessView(process.ppid))).toMatchObject({ code: 'EMFILE', fault: 'unreadable' })
    } finally {
      for (const fd of taken) fs.closeSync(fd)
    }
  })
})

describe('the error of a process', () => {
  test('that does not exist', async () => {
    const { child, pid } = await start('/bin/true', [])
    await once(child, 'exit')
    const error = failure(() => new ProcessView(pid))
    expect(error).toMatchObject({ fault: 'missing', code: 'ESRCH', syscall: 'open', pid, gone: false })
    expect(error.message).toBe(`there is no process ${pid}`)
  })

  test.each([0, -1, 1.5, Number.NaN, 2 ** 60])('whose pid is %s, which is none', (pid) => {
    expect(failure(() => new ProcessView(pid))).toMatchObject({ code: 'EINVAL' })
  })

  test('that has ended since the view was opened', async () => {
    const { child, pid } = await start('/bin/sleep', ['60'])
    const watched = view(pid)
    child.kill('SIGKILL')
    await once(child, 'exit')
    for (const read of [
      () => watched.status(),
      () => watched.smaps(),
      () => watched.cpu(),
      () => watched.descriptors()
    ]) {
      const error = failure(read)
      expect(error).toMatchObject({ fault: 'ended', code: 'ESRCH', syscall: 'read', gone: true })
      expect(error.message).toBe(`process ${pid} has ended`)
    }
  })

  test('that is a zombie', async () => {
    // The shell that started it becomes a program that does not wait for it.
    const { child, pid: shell } = await start('/bin/sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'])
    const pid = Number(await firstLine(child))
    const watched = view(pid)
    await vi.waitFor(() => expect(fs.readFileSync(`/proc/${shell}/comm`, 'utf8')).toBe('sleep\n'), 20_000)
    process.kill(pid, 'SIGKILL')
    await vi.waitFor(() => expect(fs.readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^State:\s+Z/m), 20_000)
    for (const read of [() => new ProcessView(pid), () => watched.status()]) {
      const error = failure(read)
      expect(error).toMatchObject({ fault: 'zombie', code: 'ESRCH', gone: true })
      expect(error.message).toContain('zombie')
    }
  })

  const kernelThread = fs.existsSync('/proc/2/stat') && / 0 0 0 -1 /.test(fs.readFileSync('/proc/2/stat', 'latin1'))
  test.skipIf(!kernelThread)('that is a kernel thread', () => {
    const error = failure(() => new ProcessView(2))
    expect(error).toMatchObject({ fault: 'kernel', code: 'EINVAL', gone: false })
  })

  test.skipIf(!asRoot)('of another user is none: status can be read, smaps_rollup cannot (as root)', async () => {
    // After its first line it has opened all its files. While it is being loaded, its libraries are open.
    const { child, pid } = await start('/bin/sh', ['-c', 'echo started; read forever'])
    await firstLine(child)
    const open = fs.readdirSync(`/proc/${pid}/fd`).length
    process.seteuid?.(65534)
    try {
      const watched = view(pid)
      expect(watched.status().resident).toBeGreaterThan(0)
      expect(watched.cpu()).toBeGreaterThanOrEqual(0)
      expect(watched.smaps()).toBeNull()
      if (countsDescriptorsFast()) expect(watched.descriptors()).toBe(open)
      else expect(watched.descriptors()).toBeNull()
    } finally {
      process.seteuid?.(0)
    }
  })
})

test('a closed view leaves no descriptor, nor does a view that cannot be opened', () => {
  countsDescriptorsFast()
  const count = () => fs.readdirSync('/proc/self/fd').length
  const before = count()
  const one = new ProcessView(process.ppid)
  expect(count()).toBe(before + 3)
  one.close()
  one.close()
  expect(count()).toBe(before)
  expect(() => new ProcessView(2 ** 22 + 1)).toThrow(ProcessError)
  expect(count()).toBe(before)
  expect(failure(() => one.status())).toMatchObject({ code: 'EBADF' })
})
