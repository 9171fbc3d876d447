import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { readRecording } from './read.js'
import { record } from './record.js'
import type { Recorder } from './recorder.js'
import type { Recording, RecordingEvent } from './recording.js'

let folder: string
const children: ChildProcess[] = []
const recorders: Recorder[] = []
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))
afterEach(async () => {
  vi.restoreAllMocks()
  for (const recorder of recorders.splice(0)) await recorder.stop().catch(() => {})
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

const file = (name: string) => path.join(folder, name)
const wait = 'setInterval(() => {}, 1000)'

async function start(program: string, args: string[]): Promise<{ child: ChildProcess; pid: number }> {
  const child = spawn(program, args, { stdio: 'ignore' })
  children.push(child)
  await once(child, 'spawn')
  return { child, pid: child.pid as number }
}

async function recordIt(options: Parameters<typeof record>[0]): Promise<Recorder> {
  const recorder = await record(options)
  recorders.push(recorder)
  return recorder
}

const samples = (recorder: Recorder, n: number) =>
  new Promise<void>((resolve) => {
    recorder.on('sample', () => --n === 0 && resolve())
  })

const events = <K extends RecordingEvent['event']>(recording: Recording, kind: K) =>
  recording.events.filter((event): event is Extract<RecordingEvent, { event: K }> => event.event === kind)

function inOrder(recording: Recording): void {
  for (const lines of [recording.samples, recording.events]) {
    for (let i = 1; i < lines.length; i++) expect(lines[i]?.t).toBeGreaterThanOrEqual(lines[i - 1]?.t as number)
  }
}

describe('recording a running process', () => {
  test('samples the process until it ends', async () => {
    const { child, pid } = await start('/bin/sleep', ['60'])
    const recorder = await recordIt({ pid, statusEvery: 10, smapsEvery: 50 })
    await samples(recorder, 20)
    child.kill('SIGKILL')
    const recording = await recorder.done
    expect(recording.complete).toBe(true)
    expect(recording.header).toMatchObject({ name: 'sleep', role: 'main', pid, command: ['/bin/sleep', '60'] })
    expect(recording.samples.length).toBeGreaterThanOrEqual(20)
    expect(recording.events.at(-1)).toMatchObject({ event: 'end', reason: 'exited', exitCode: null, signal: null })
    const shares = recording.samples.filter((sample) => sample.private !== null).length
    expect(shares).toBeGreaterThan(1)
    expect(shares).toBeLessThan(recording.samples.length)
    inOrder(recording)
    expect(recorder.mark({ event: 'note', text: 'late' })).toBe(false)
    expect(await recorder.stop()).toBe(recording)
  })

  test('reads the same figures as /proc shows for a suspended process', async () => {
    const { pid } = await start(process.execPath, ['-e', wait])
    process.kill(pid, 'SIGSTOP')
    await vi.waitFor(() => expect(fs.readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^State:\s+T/m))
    const recorder = await recordIt({ pid, statusEvery: 10 })
    await samples(recorder, 3)
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
    const kilobytes = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1]) * 1024
    for (const sample of (await recorder.stop()).samples) {
      expect(sample).toMatchObject({
        resident: kilobytes('VmRSS'),
        anonymous: kilobytes('RssAnon'),
        file: kilobytes('RssFile') + kilobytes('RssShmem'),
        descriptors: fs.readdirSync(`/proc/${pid}/fd`).length
      })
    }
  })

  test('writes to a file, and keeps samples in memory only with the option keep', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    const kept = await recordIt({ pid, out: file('kept.ndjson'), keep: true, statusEvery: 10, duration: 100 })
    const recording = await kept.done
    const read = await readRecording(file('kept.ndjson'))
    expect(read).toEqual({ ...recording, notes: [] })
    expect(read.events.at(-1)).toMatchObject({ event: 'end', reason: 'duration' })

    const filed = await recordIt({ pid, out: file('filed.ndjson'), statusEvery: 10, duration: 100 })
    const bare = await filed.done
    expect(bare.samples).toEqual([])
    expect(bare.notes).toEqual([expect.stringContaining('filed.ndjson')])
    expect((await readRecording(file('filed.ndjson'))).samples.length).toBeGreaterThan(1)
  })

  test('records events, lines and a name that the caller gives', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    const recorder = await recordIt({ pid, name: 'it', role: 'control', out: file('marked.ndjson') })
    expect(recorder.mark({ event: 'pulse', index: 0, size: 'big', n: 10 })).toBe(true)
    recorder.line('Cycle #  1: 10 clients | System: 5 Inuse: 4 Released: 0 Objects: -')
    recorder.line('hello')
    await samples(recorder, 1)
    recorder.mark({ event: 'closed', index: 0, lost: 0 })
    await recorder.stop()
    const recording = await readRecording(file('marked.ndjson'))
    expect(recording.header).toMatchObject({ name: 'it', role: 'control' })
    expect(recording.events.map((event) => event.event)).toEqual(['pulse', 'cycle', 'line', 'closed', 'end'])
    inOrder(recording)
  })

  test('ends when the signal aborts', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    const stopping = new AbortController()
    const recorder = await recordIt({ pid, statusEvery: 10, signal: stopping.signal })
    await samples(recorder, 2)
    stopping.abort()
    expect((await recorder.done).events.at(-1)).toMatchObject({ event: 'end', reason: 'stopped' })
    await expect(record({ pid, signal: stopping.signal })).rejects.toThrow('aborted')
  })

  test('records how the process ended if the caller reports it', async () => {
    const { child, pid } = await start('/bin/sleep', ['60'])
    const exited = once(child, 'exit').then(([exitCode, signal]) => ({ exitCode, signal }))
    const recorder = await recordIt({ pid, exited, statusEvery: 10 })
    await samples(recorder, 2)
    child.kill('SIGTERM')
    expect((await recorder.done).events.at(-1)).toMatchObject({ reason: 'exited', exitCode: null, signal: 'SIGTERM' })
  })

  test('leaves no descriptor open', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    await (await record({ pid, duration: 20 })).done
    const open = fs.readdirSync('/proc/self/fd').length
    for (let i = 0; i < 5; i++) await (await record({ pid, statusEvery: 5, duration: 20, out: file('x') })).done
    await expect(record({ pid, out: folder })).rejects.toThrow('it is a directory')
    await expect(record({ pid, expvar: 'ftp://x' })).rejects.toThrow('is not an address to poll')
    expect(fs.readdirSync('/proc/self/fd').length).toBe(open)
  })

  test('notes once that the sampler fell behind, and does not catch up in a burst', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    const recorder = await recordIt({ pid, statusEvery: 20 })
    for (let i = 0; i < 2; i++) {
      await samples(recorder, 2)
      const end = performance.now() + 300
      while (performance.now() < end);
    }
    await samples(recorder, 5)
    const recording = await recorder.stop()
    expect(events(recording, 'note').filter(({ text }) => text.includes('fell behind'))).toHaveLength(1)
    inOrder(recording)
    const spans = recording.samples.slice(0, -1).map((sample, i) => (recording.samples[i + 1]?.t as number) - sample.t)
    expect(spans.filter((span) => span < 1).length).toBeLessThan(4)
  })

  const limit = Number(/Max open files\s+(\d+)/.exec(fs.readFileSync('/proc/self/limits', 'utf8'))?.[1])
  test.skipIf(!(limit <= 200_000))('continues when this process has no descriptor left', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    const recorder = await recordIt({ pid, statusEvery: 10, smapsEvery: 20, out: file('emfile.ndjson'), keep: true })
    await samples(recorder, 1)
    const taken: number[] = []
    try {
      expect(() => {
        for (;;) taken.push(fs.openSync('/dev/null', 'r'))
      }).toThrow('EMFILE')
      await samples(recorder, 20)
    } finally {
      for (const fd of taken) fs.closeSync(fd)
    }
    const recording = await recorder.stop()
    expect(recording.samples.length).toBeGreaterThan(20)
    expect((await readRecording(file('emfile.ndjson'))).samples).toEqual(recording.samples)
  })
})

describe('recording to a full disk', () => {
  test('rejects with one sentence if the header cannot be written', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    await expect(record({ pid, out: '/dev/full' })).rejects.toThrow(
      expect.objectContaining({
        code: 'ENOSPC',
        message: expect.stringMatching(/^writing \/dev\/full failed: no space/)
      })
    )
  })

  test('stops in the middle and leaves a file that can be read', async () => {
    const { pid } = await start('/bin/sleep', ['60'])
    const out = file('full.ndjson')
    const recorder = await recordIt({ pid, out, statusEvery: 10 })
    await samples(recorder, 3)
    // The disk takes 50 more bytes, which is half a line.
    const real = fs.writeSync
    let left = 50
    vi.spyOn(fs, 'writeSync').mockImplementation(((fd: number, bytes: Buffer, offset: number) => {
      if (left === 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
      const written = real(fd, bytes, offset, Math.min(left, bytes.length - offset))
      left -= written
      return written
    }) as typeof fs.writeSync)
    await expect(recorder.done).rejects.toThrow(
      /^writing .*full.ndjson failed: no space left on the device \(ENOSPC\) after \d+ lines; what was written can be read$/
    )
    vi.restoreAllMocks()
    await expect(recorder.stop()).rejects.toThrow('no space left')
    const recording = await readRecording(out)
    expect(recording.samples.length).toBeGreaterThanOrEqual(3)
    expect(recording.complete).toBe(false)
    expect(recording.notes).toEqual([expect.stringContaining('cut off inside line')])
  })

  const mount = process.geteuid?.() === 0 ? tmpfs() : null
  test.skipIf(mount === null)(
    'stops on a tmpfs of 64 KiB that is full (as root, if tmpfs can be mounted)',
    async () => {
      const at = mount as string
      try {
        const out = path.join(at, 'x.ndjson')
        const { pid } = await start('/bin/sleep', ['60'])
        const recorder = await recordIt({ pid, out, statusEvery: 1 })
        const fill = () => recorder.line('x'.repeat(900))
        while (fill());
        await expect(recorder.done).rejects.toThrow(/no space left on the device \(ENOSPC\) after \d+ lines/)
        const recording = await readRecording(out)
        expect(recording.events.length).toBeGreaterThan(5)
        expect(recording.complete).toBe(false)
      } finally {
        execFileSync('umount', ['-l', at])
        fs.rmdirSync(at)
      }
    }
  )

  function tmpfs(): string | null {
    const at = fs.mkdtempSync(path.join(os.tmpdir(), 'ebb-full-'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', at], { stdio: 'ignore' })
      return at
    } catch {
      fs.rmdirSync(at)
      return null
    }
  }
})

describe('invalid options', () => {
  test('rejects a pid without a process', async () => {
    await expect(record({ pid: 2 ** 22 + 1 })).rejects.toThrow('there is no process 4194305')
  })

  test('rejects options that name no process, or two', async () => {
    await expect(record({})).rejects.toThrow('give exactly one of pid, port and command')
    await expect(record({ pid: 1, port: 2 })).rejects.toThrow('give exactly one of pid, port and command')
  })

  test.skipIf(process.geteuid?.() !== 0)(
    "records another user's process without private and proportional memory, with a note (as root)",
    async () => {
      const { pid } = await start('/bin/sleep', ['60'])
      process.seteuid?.(65534)
      try {
        const recorder = await recordIt({ pid, statusEvery: 10 })
        await samples(recorder, 3)
        const recording = await recorder.stop()
        expect(recording.samples.every((sample) => sample.private === null && sample.resident > 0)).toBe(true)
        expect(events(recording, 'note')).toHaveLength(1)
        expect(recording.header.runtime).toBeNull()
      } finally {
        process.seteuid?.(0)
      }
    }
  )

  test.each([0, -1, Number.NaN])('rejects an interval of %s ms', async (statusEvery) => {
    await expect(record({ pid: process.pid, statusEvery })).rejects.toThrow('give milliseconds above 0')
  })
})

describe('recording by port', () => {
  test('finds the process that listens, and records its expvar', async () => {
    const memstats = { HeapSys: 8, HeapInuse: 5, HeapReleased: 1, HeapObjects: 4 }
    const server = http.createServer((_, response) => response.end(JSON.stringify({ memstats })))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    try {
      const recorder = await recordIt({ port, expvar: `http://127.0.0.1:${port}/debug/vars` })
      expect(recorder.pid).toBe(process.pid)
      await vi.waitFor(() => expect(events(recorder.recording, 'runtime').length).toBeGreaterThan(0))
      const recording = await recorder.stop()
      expect(events(recording, 'runtime')[0]).toMatchObject({ system: 8, inuse: 5, released: 1, objects: 4 })
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })
})

describe('recording a command', () => {
  test('starts the command, parses its output, and records how it ended', async () => {
    const script = `
      console.log('Cycle #  1: 7 clients | System: 3 Inuse: 2 Released: 1 Objects: -')
      console.error('careful')
      setTimeout(() => { process.stdout.write('last words'); process.exitCode = 3 }, 400)`
    const recorder = await recordIt({ command: [process.execPath, '-e', script], statusEvery: 10 })
    const recording = await recorder.done
    expect(events(recording, 'cycle')).toMatchObject([{ clients: 7, objects: null }])
    expect(events(recording, 'line').map(({ text }) => text)).toEqual(['careful', 'last words'])
    expect(recording.events.at(-1)).toMatchObject({ event: 'end', reason: 'exited', exitCode: 3, signal: null })
    expect(recording.header.runtime).toEqual({ name: 'node', version: process.versions.node })
    expect(recording.samples.length).toBeGreaterThan(0)
  })

  test('ends the command and its descendants with the recording', async () => {
    const command = ['/bin/sh', '-c', 'sleep 61 & echo $!; trap "" TERM; wait; wait']
    const recorder = await recordIt({ command, statusEvery: 10 })
    await vi.waitFor(() => expect(events(recorder.recording, 'line')).toHaveLength(1))
    const grandchild = Number(events(recorder.recording, 'line')[0]?.text)
    expect(() => process.kill(grandchild, 0)).not.toThrow()
    const recording = await recorder.stop()
    expect(recording.events.at(-1)).toMatchObject({ reason: 'stopped' })
    expect(() => process.kill(recorder.pid, 0)).toThrow('ESRCH')
    await vi.waitFor(() => {
      const status = `/proc/${grandchild}/status`
      if (fs.existsSync(status)) expect(fs.readFileSync(status, 'utf8')).toMatch(/^State:\s+Z/m)
    })
  })

  test('limits the recorded lines of a command that floods its output', async () => {
    const script = 'const chunk = Buffer.alloc(65536, "x\\n"); for (;;) require("fs").writeSync(1, chunk)'
    const recorder = await recordIt({ command: [process.execPath, '-e', script], duration: 1500 })
    const recording = await recorder.done
    expect(events(recording, 'line').length).toBeLessThanOrEqual(3000)
    expect(events(recording, 'note').some(({ text }) => text.includes('left out'))).toBe(true)
    expect(recording.samples.length).toBeGreaterThan(2)
    inOrder(recording)
  })

  test.each([
    [[], 'there is no command to start'],
    [['/no/such/program'], 'cannot start /no/such/program: no such program (ENOENT)'],
    [['/etc/passwd'], 'cannot start /etc/passwd: permission denied (EACCES)'],
    [['/bin/sh', '-c', 'echo sorry; exit 7'], 'ended at once (exit code 7); it said: sorry']
  ])('rejects the command %j with one sentence', async (command, message) => {
    const open = fs.readdirSync('/proc/self/fd').length
    const outcome = record({ command }).then(async (recorder) => {
      // On a fast machine, recording begins before the command ends.
      const recording = await recorder.done
      const end = events(recording, 'end')[0]
      throw new Error(`ended at once (exit code ${end?.exitCode}); it said: ${events(recording, 'line')[0]?.text}`)
    })
    await expect(outcome).rejects.toThrow(message)
    await vi.waitFor(() => expect(fs.readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(open))
  })
})
