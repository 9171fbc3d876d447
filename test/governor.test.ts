/** `ebb/auto` and `govern()` in programs of their own, each with a real cause. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from './support/child.js'
import { clients, directory, until } from './support/sockets.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** A program under `--import ebb/auto`. What else runs on this machine is no reason for acts, unless a test says so. */
function auto(source: string, environment: Record<string, string> = {}, before = ':'): Child {
  const quiet = { MEMORY_PRESSURE_WATCH: '/dev/null', ...environment }
  const exports = Object.entries(quiet).map(([name, value]) => `export ${name}='${value}'`)
  return new Child(source, { args: ['--import', 'ebb/auto'], shell: [...exports, before].join('; ') })
}

/** For programs: lines of JSON, memory that a collection finds, a crowd of descriptors. */
const TOOLS = `
  import fs from 'node:fs'
  const print = (value) => console.log(JSON.stringify(value))
  const weight = (mb) =>
    Array.from({ length: mb }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
  const crowd = (count) => Array.from({ length: count }, () => fs.openSync('/dev/null'))
  const leave = (fds) => fds.splice(0).forEach((fd) => fs.closeSync(fd))
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
`

const LINE =
  /^ebb: gave back -?\d+\.\d MB \(\d+\.\d -> \d+\.\d\) in \d+ ms, longest pause \d+ ms: (spike|limit|pressure|signal|asked)$/gm

/** The reasons of the acts that a child has logged. */
function acts(child: Child): string[] {
  return [...child.stderr.matchAll(LINE)].map(([, reason = '']) => reason)
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

describe('after a spike', () => {
  test('a plain server’s crowd goes while small pulses go on', async () => {
    const child = auto(
      `${TOOLS}
      import net from 'node:net'
      // What a connection has: its socket, and some of the program's own.
      const server = net.createServer((socket) => {
        socket.on('error', () => {})
        socket.state = Array.from({ length: 100 }, (_, i) => ({ i, text: String(i) }))
      })
      server.listen(0, '127.0.0.1', () => print(server.address()))`,
      { EBB_LOG: '1', EBB_MAX_PAUSE: '10s', EBB_BUDGET: '1' }
    )
    const address = await child.next<{ address: string; family: 'IPv4'; port: number }>()
    let pulses = true
    const destroy = (sockets: Socket[]): void => {
      for (const socket of sockets) socket.destroy()
    }
    const pulse = async (): Promise<void> => {
      while (pulses) {
        const few = await clients(address, 60)
        await pause(100)
        destroy(few)
        await pause(100)
      }
    }
    const big = await clients(address, 1500)
    await pause(1500)
    expect(acts(child)).toEqual([])
    destroy(big)
    const going = pulse()
    try {
      await child.until(() => acts(child).length > 0)
    } finally {
      pulses = false
      await going
    }
    expect(acts(child)).toEqual(['spike'])
  })

  test('a burst of work, without a crowd', async () => {
    const child = auto(
      `${TOOLS}
      let held = weight(30)
      const end = performance.now() + 2500
      while (performance.now() < end) {
        held = weight(30)
        await pause(1)
      }
      held = undefined
      setInterval(() => {}, 1000)`,
      { EBB_LOG: '1', EBB_MAX_PAUSE: '10s', EBB_BUDGET: '1' }
    )
    await child.until(() => acts(child).includes('spike'))
  })

  test('a crowd that comes while there is little to do keeps what it brought', async () => {
    const child = auto(
      `${TOOLS}
      const end = performance.now() + 2000
      while (performance.now() < end) {
        weight(2)
        await pause(1)
      }
      print('quiet')
      // A lull lasts 4 s; the crowd comes in its middle, and brings as much as is worth an act.
      await pause(2500)
      const held = [crowd(300), weight(30)]
      print('there')
      await pause(3000)
      print(held.length)
      process.stdin.resume()`,
      { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s', EBB_BUDGET: '1' }
    )
    expect(await child.next()).toBe('quiet')
    expect(await child.next()).toBe('there')
    const before = acts(child).length
    expect(await child.next()).toBe(2)
    expect(acts(child)).toHaveLength(before)
  })

  test('not while the program lives on what it has', async () => {
    const child = auto(
      `${TOOLS}
      let held = weight(40)
      const fds = crowd(200)
      setInterval(() => {}, 1000)
      print('there')
      process.stdin.on('data', () => {
        held = undefined
        leave(fds)
      })`,
      { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s', EBB_BUDGET: '1' }
    )
    await child.next()
    // What it did to start may be a spike. From 4 s of little to do on, what it holds may be one.
    await pause(1500)
    const before = acts(child).length
    expect(before).toBeLessThanOrEqual(1)
    await pause(1500)
    expect(acts(child)).toHaveLength(before)
    child.tell('go')
    await child.until(() => acts(child).length > before)
    expect(acts(child).at(-1)).toBe('spike')
  })
})

describe('not at a bad price', () => {
  test('a minute of steady load: at most one act', { timeout: 120_000 }, async () => {
    const child = auto(
      `${TOOLS}
      import http from 'node:http'
      const server = http.createServer((request, response) => {
        response.end(JSON.stringify(Array.from({ length: 200 }, (_, i) => ({ i, text: String(i) }))))
      })
      // A connection that is closed for having been idle may be asked at that moment.
      server.keepAliveTimeout = 0
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      const agent = new http.Agent({ keepAlive: true, maxSockets: 30 })
      const ask = () => http.get({ port: server.address().port, host: '127.0.0.1', agent }, (response) => response.resume())
      setInterval(() => {
        for (let i = 0; i < 5; i++) ask()
      }, 10)
      await pause(60_000)
      print('done')
      process.exit()`,
      { EBB_LOG: '1' }
    )
    expect(await child.next()).toBe('done')
    expect(acts(child).length).toBeLessThanOrEqual(1)
  })

  test('a large live heap: not after a fall, but when the box asks', async () => {
    const path = fifo()
    const child = auto(
      `${TOOLS}
      import { govern } from 'ebb'
      globalThis.live = weight(400)
      const governing = govern()
      leave(crowd(300))
      const fds = crowd(300)
      await pause(1200)
      leave(fds)
      await pause(2500)
      const { acts, tooLong, expectedPause } = governing.stats()
      print({ acts, tooLong, expectedPause })
      process.stdin.resume()`,
      { EBB_LOG: '1', MEMORY_PRESSURE_WATCH: path }
    )
    const stats = await child.next<{ acts: object; tooLong: number; expectedPause: number }>()
    expect(stats.acts).toEqual({ spike: 0, limit: 0, pressure: 0, signal: 0, asked: 0 })
    expect(stats.tooLong).toBeGreaterThan(0)
    expect(stats.expectedPause).toBeGreaterThan(50)
    writeFileSync(path, 'x')
    await child.until(() => acts(child).length > 0)
    expect(acts(child)).toEqual(['pressure'])
  })

  test('a program that leaks: the budget holds', async () => {
    const child = auto(
      `${TOOLS}
      import { subscribe } from 'node:diagnostics_channel'
      const start = performance.now()
      const done = []
      subscribe('ebb:release', ({ cpuMs }) => done.push(cpuMs))
      globalThis.leak = []
      while (performance.now() - start < 8000) {
        leak.push(weight(2))
        const fds = crowd(100)
        await pause(100)
        leave(fds)
        await pause(300)
      }
      print({ done, elapsed: performance.now() - start })
      process.exit()`,
      { EBB_EVERY: '100', EBB_MAX_PAUSE: '1m' }
    )
    const { done, elapsed } = await child.next<{ done: number[]; elapsed: number }>()
    expect(done.length).toBeGreaterThan(0)
    // Each waits for the time that those before have cost.
    const paid = done.slice(0, -1).reduce((sum, ms) => sum + ms, 0)
    expect(paid / 0.01).toBeLessThan(elapsed)
  })
})

describe('when the box is short', () => {
  test.each([
    ['a FIFO', fifo],
    ['a socket', socket]
  ])('systemd says so through %s', async (_, make) => {
    const watched = make()
    const path = typeof watched === 'string' ? watched : (await watched).path
    const child = auto(`${TOOLS} process.stdin.resume(); print('there')`, {
      EBB_LOG: '1',
      MEMORY_PRESSURE_WATCH: path
    })
    await child.next()
    if (typeof watched === 'string') writeFileSync(path, 'x')
    else (await watched).say()
    await child.until(() => acts(child).length > 0)
    expect(acts(child)).toEqual(['pressure'])
    child.process.stdin.end()
    expect(await child.ended).toMatchObject({ code: 0 })
  })

  const watching = `${TOOLS} import { govern } from 'ebb'; print(govern().stats().watching ?? null)`
  const hasPsi = (() => {
    try {
      readFileSync('/proc/pressure/memory')
      return true
    } catch {
      return false
    }
  })()

  test.skipIf(!hasPsi)('systemd names the kernel’s file, and what to write to it', async () => {
    const child = auto(watching, {
      MEMORY_PRESSURE_WATCH: '/proc/pressure/memory',
      MEMORY_PRESSURE_WRITE: Buffer.from('some 150000 2000000\0').toString('base64')
    })
    expect(await child.next()).toBe('/proc/pressure/memory')
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('systemd says that it is not to watch', async () => {
    const child = auto(watching, { MEMORY_PRESSURE_WATCH: '/dev/null' })
    expect(await child.next()).toBe(null)
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('so does EBB_PRESSURE=0', async () => {
    const child = auto(watching, { EBB_PRESSURE: '0', MEMORY_PRESSURE_WATCH: '/nowhere' })
    expect(await child.next()).toBe(null)
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test.each([
    ['a file on a disk', () => fileOnDisk()],
    ['nothing', () => '/nowhere/pressure']
  ])('what cannot be watched is said once, and the program lives: %s', async (_, path) => {
    const child = auto(`${watching}; process.stdin.resume()`, {
      EBB_SIGNAL: 'SIGUSR2',
      EBB_LOG: '1',
      MEMORY_PRESSURE_WATCH: path()
    })
    expect(await child.next()).toBe(null)
    child.process.kill('SIGUSR2')
    await child.until(() => acts(child).length > 0)
    child.process.stdin.end()
    const { code, stderr } = await child.ended
    expect(code).toBe(0)
    expect(
      stderr.match(/\[EBB_NO_PRESSURE\] Warning: memory pressure is not watched \(MEMORY_PRESSURE_WATCH\): /g)
    ).toHaveLength(1)
  })

  test('a file that it may not watch as systemd would have it ends it: a sentence, and 1', async () => {
    const child = auto(watching, { MEMORY_PRESSURE_WATCH: 'relative' })
    expect(await child.ended).toEqual({
      code: 1,
      signal: null,
      stderr: 'ebb/auto: MEMORY_PRESSURE_WATCH must be an absolute path, not relative\n'
    })
  })

  /** Grows again and again, without a fall: a steady crowd of descriptors, and of work. Of what it makes V8 may have collected some. */
  const GROWS = `${TOOLS}
    process.stdin.resume()
    print('there')
    await pause(1000)
    setInterval(() => weight(40), 500)`

  test('near its limit it acts without a fall', async () => {
    const environment = { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s' }
    const near = auto(GROWS, { ...environment, EBB_LIMIT: '0' })
    await near.until(() => acts(near).length > 0)
    expect(acts(near)[0]).toBe('limit')
  })

  const own = /^\d+:(?:.*,)?memory(?:,.*)?:(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? ''
  const group = join('/sys/fs/cgroup/memory', own, `ebb-governor-${process.pid}`)
  const grouped = (() => {
    try {
      mkdirSync(group)
      rmdirSync(group)
      return own !== ''
    } catch {
      return false
    }
  })()

  test.skipIf(!grouped)('near the limit of a group of v1', async () => {
    mkdirSync(group)
    onTestFinished(async () => {
      await until(() => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '')
      rmdirSync(group)
    })
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(400e6))
    const environment = { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s', EBB_LIMIT: '0.1' }
    const child = auto(GROWS, environment, `echo $$ > '${group}/cgroup.procs'`)
    await child.until(() => acts(child).length > 0)
    expect(acts(child)[0]).toBe('limit')
    child.process.kill('SIGKILL')
    await child.ended
  })
})

describe('when a person asks', () => {
  test('a signal, again and again, and whatever the price', async () => {
    const child = auto(`${TOOLS} process.stdin.resume(); print('there')`, {
      EBB_SIGNAL: 'SIGUSR2',
      EBB_LOG: '1',
      EBB_BUDGET: '0.000001',
      EBB_MAX_PAUSE: '1'
    })
    await child.next()
    for (let i = 1; i <= 3; i++) {
      child.process.kill('SIGUSR2')
      await child.until(() => acts(child).length === i)
    }
    expect(acts(child)).toEqual(['signal', 'signal', 'signal'])
    child.process.stdin.end()
    expect(await child.ended).toMatchObject({ code: 0, signal: null })
  })

  test('release(), and what is said of it: a message, stats, metrics, a line', async () => {
    const child = auto(
      `${TOOLS}
      import { subscribe } from 'node:diagnostics_channel'
      import { govern, release } from 'ebb'
      const messages = []
      subscribe('ebb:release', (message, name) => messages.push({ message, name }))
      const governing = govern({ log: false })
      const done = await release()
      const { acts, returned, ms, longestPause, last } = governing.stats()
      print({ done, messages, acts, returned, ms, longestPause, last })
      print(governing.metrics())
      governing.stop()
      governing.stop()
      await release()
      print([messages.length, governing.stats().acts.asked, govern() !== governing])`,
      { EBB_LOG: '1' }
    )
    const {
      done,
      messages,
      acts: counts,
      returned,
      ms,
      longestPause,
      last
    } = await child.next<{
      done: { before: number; afterTrim: number; ms: number; pauseMs: number }
      messages: unknown[]
      acts: object
      returned: number
      ms: number
      longestPause: number
      last: object
    }>()
    const message = { ...done, reason: 'asked' }
    expect(messages).toEqual([{ message, name: 'ebb:release' }])
    expect(last).toEqual(message)
    expect(counts).toEqual({ spike: 0, limit: 0, pressure: 0, signal: 0, asked: 1 })
    expect(returned).toBe(Math.max(0, done.before - done.afterTrim))
    expect([ms, longestPause]).toEqual([done.ms, done.pauseMs])
    expect(await child.next()).toContain('\nebb_releases_total{reason="asked"} 1\n')
    expect(await child.next()).toEqual([1, 1, true])
    const { code, stderr } = await child.ended
    expect(code).toBe(0)
    expect(stderr).toMatch(new RegExp(`^${LINE.source.slice(1, -1)}\n$`))
  })
})

describe('the environment', () => {
  test.each([
    ['EBB_BUDGET', '2', 'EBB_BUDGET must be a share of time over 0 and up to 1, not 2'],
    ['EBB_BUDGET', 'x', 'EBB_BUDGET must be a number, not "x"'],
    ['EBB_MAX_PAUSE', '0', 'EBB_MAX_PAUSE must be milliseconds over 0, not 0'],
    ['EBB_MAX_PAUSE', 'soon', /^EBB_MAX_PAUSE must be milliseconds, or a time with a unit .*, not "soon"$/],
    ['EBB_WORTH', '-1', 'EBB_WORTH must be bytes from 0 on, not -1'],
    ['EBB_EVERY', '99', 'EBB_EVERY must be milliseconds from 100 on, not 99'],
    ['EBB_PRESSURE', 'maybe', 'EBB_PRESSURE must be 1 or 0, not "maybe"'],
    ['EBB_LIMIT', '1.5', 'EBB_LIMIT must be a share from 0 to 1, not 1.5'],
    ['EBB_SIGNAL', 'USR2', 'EBB_SIGNAL must be a signal such as SIGUSR2, not "USR2"'],
    ['EBB_SIGNAL', 'SIGKILL', /^EBB_SIGNAL must be one that a program can catch, such as SIGUSR2, not SIGKILL$/],
    ['EBB_WORKERS', '2', 'EBB_WORKERS must be 1 or 0, not "2"'],
    ['EBB_LOG', 'yes', 'EBB_LOG must be 1 or 0, not "yes"']
  ])('%s=%s is one sentence, and 1', (name, value, sentence) => {
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      ['--import', 'ebb/auto', '--eval', 'console.log(1)'],
      {
        cwd: ROOT,
        env: { ...process.env, [name]: value },
        encoding: 'utf8'
      }
    )
    expect(stderr.replace(/^ebb\/auto: /, '').replace(/\n$/, '')).toEqual(
      typeof sentence === 'string' ? sentence : expect.stringMatching(sentence)
    )
    expect([status, stdout]).toEqual([1, ''])
  })

  test('all of it', async () => {
    const child = auto(`${TOOLS} import { govern } from 'ebb'; print(govern().stats().acts)`, {
      EBB_BUDGET: '0.02',
      EBB_MAX_PAUSE: '20ms',
      EBB_WORTH: '2e6',
      EBB_EVERY: '0.5s',
      EBB_PRESSURE: '1',
      EBB_LIMIT: '0.8',
      EBB_SIGNAL: 'SIGUSR2',
      EBB_WORKERS: '0',
      EBB_LOG: '0'
    })
    expect(await child.next()).toEqual({ spike: 0, limit: 0, pressure: 0, signal: 0, asked: 0 })
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })
})

describe.each([
  ['--import', { args: ['--import', 'ebb/auto'] }],
  ['-r', { args: ['-r', 'ebb/auto'] }],
  ["NODE_OPTIONS='--import'", { shell: "export NODE_OPTIONS='--import ebb/auto'" }],
  ["NODE_OPTIONS='-r'", { shell: "export NODE_OPTIONS='-r ebb/auto'" }]
])('ebb/auto by %s', (_, options) => {
  const ebbSymbols =
    "Object.getOwnPropertySymbols(globalThis).filter(({ description }) => description.startsWith('ebb.')).length"

  test('starts the governor before the program, and warns of nothing', async () => {
    const child = new Child(`console.log(${ebbSymbols} > 0)`, options)
    expect(await child.next()).toBe(true)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('loads nothing in a worker thread', async () => {
    const child = new Child(
      `
      import { Worker } from 'node:worker_threads'
      for (let i = 0; i < 5; i++) {
        const worker = new Worker("import { parentPort } from 'node:worker_threads'; parentPort.postMessage(${ebbSymbols})", { eval: true })
        console.log(await new Promise((resolve) => worker.once('message', resolve)))
        await worker.terminate()
      }`,
      options
    )
    for (let i = 0; i < 5; i++) expect(await child.next()).toBe(0)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('ends the process with exit code 1 for an invalid variable', async () => {
    const { shell = ':', ...rest } = options as { shell?: string; args?: string[] }
    const child = new Child('console.log(1)', { ...rest, shell: `${shell}; export EBB_BUDGET=2` })
    expect(await child.ended).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^ebb\/auto: EBB_BUDGET must be /)
    })
    await expect(child.next()).rejects.toThrow('ended')
  })
})

describe('in any program', () => {
  test('an idle one wakes once a second at most, also with a spike behind it that is too dear', async () => {
    const idle = auto(`${TOOLS} print('there'); setInterval(() => {}, 2 ** 30)`)
    const spiked = auto(
      `${TOOLS}
      const fds = crowd(300)
      globalThis.held = weight(20)
      await pause(1500)
      leave(fds)
      print('there')
      setInterval(() => {}, 2 ** 30)`,
      { EBB_MAX_PAUSE: '1', EBB_LOG: '1' }
    )
    await Promise.all([idle.next(), spiked.next()])
    await pause(2500)
    const counts: [number[], number[]] = [[], []]
    for (let i = 0; i < 7; i++) {
      const [idleBefore, spikedBefore] = [wakes(idle), wakes(spiked)]
      await pause(1000)
      counts[0].push(wakes(idle) - idleBefore)
      counts[1].push(wakes(spiked) - spikedBefore)
    }
    // The median: V8 has work of its own now and then, and libuv's timer can be a millisecond early, and waits again.
    expect(counts.map((each) => each.sort((a, b) => a - b)[3])).toEqual([1, 1])
    expect(spiked.stderr).toBe('')
  })

  test('never holds it open', async () => {
    const child = auto(`process.on('exit', () => console.log('"exit"'))`, {
      EBB_SIGNAL: 'SIGUSR2',
      MEMORY_PRESSURE_WATCH: fifo()
    })
    expect(await child.next()).toBe('exit')
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('worker threads and child processes', async () => {
    const child = auto(
      `${TOOLS}
      import { fork } from 'node:child_process'
      import { writeFileSync } from 'node:fs'
      import { Worker } from 'node:worker_threads'
      const source = "import { parentPort } from 'node:worker_threads'; parentPort.postMessage(Object.getOwnPropertySymbols(globalThis).includes(Symbol.for('ebb.governing.1'))); setInterval(() => {}, 1000)"
      const worker = new Worker(source, { eval: true })
      worker.once('message', (governed) => {
        print(['worker', governed])
        // Node's arguments go to forks: each process has its own.
        const forked = fork(process.env.FORKED, { execArgv: ['--import', 'ebb/auto'] })
        forked.once('message', (acts) => {
          print(['fork', acts])
          process.kill(process.pid, 'SIGUSR2')
        })
      })
      import { subscribe } from 'node:diagnostics_channel'
      subscribe('ebb:release', ({ reason, workers }) => {
        print([reason, workers])
        process.exit()
      })`,
      { EBB_SIGNAL: 'SIGUSR2', FORKED: forkable() }
    )
    expect(await child.next()).toEqual(['worker', false])
    expect(await child.next()).toEqual(['fork', ['signal']])
    expect(await child.next()).toEqual(['signal', 1])
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('a governor of a worker’s own', async () => {
    const child = new Child(`
      import { Worker } from 'node:worker_threads'
      const source = \`
        import { setTimeout as pause } from 'node:timers/promises'
        import { govern } from 'ebb'
        import fs from 'node:fs'
        const governing = govern({ every: 100, maxPause: 10_000, budget: 1, pressure: false })
        let fds = Array.from({ length: 300 }, () => fs.openSync('/dev/null'))
        let held = Array.from({ length: 20 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
        await pause(300)
        held = undefined
        for (const fd of fds) fs.closeSync(fd)
        while (governing.stats().acts.spike === 0) await pause(20)
        console.log(JSON.stringify(governing.stats().acts.spike > 0))
        governing.stop()
      \`
      new Worker(source, { eval: true })`)
    expect(await child.next()).toBe(true)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test.each([
    ['at once', 'release(); process.exit(0)'],
    ['while it goes on', 'release(); setTimeout(() => process.exit(0), 15)'],
    ['while worker threads collect', 'release({ workers: true }); setImmediate(() => process.exit(0))'],
    ['in the message of it', "subscribe('ebb:release', () => process.exit(0)); release()"],
    ['after a signal', "process.kill(process.pid, 'SIGUSR2'); setTimeout(() => process.exit(0), 5)"]
  ])('process.exit inside an act: %s', async (_, source) => {
    const child = auto(
      `${TOOLS}
      import { subscribe } from 'node:diagnostics_channel'
      import { Worker } from 'node:worker_threads'
      import { release } from 'ebb'
      const worker = new Worker('setInterval(() => {}, 1000)', { eval: true })
      await new Promise((resolve) => worker.once('online', resolve))
      globalThis.held = weight(10)
      ${source}
      setInterval(() => {}, 1000)`,
      { EBB_SIGNAL: 'SIGUSR2' }
    )
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('an act during shutdown', async () => {
    const child = auto(
      `${TOOLS}
      import net from 'node:net'
      import { release } from 'ebb'
      const server = net.createServer().listen(0)
      process.once('SIGTERM', () => {
        server.close()
        release({ workers: true }).then(() => print('released'))
      })
      process.once('beforeExit', () => release().then(() => print('before')))
      process.on('exit', () => void release())
      server.once('listening', () => print('there'))`
    )
    await child.next()
    child.process.kill('SIGTERM')
    expect(await child.next()).toBe('released')
    expect(await child.next()).toBe('before')
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('two copies of the library share a governor, a price and an act', async () => {
    const copy = directory()
    cpSync(join(ROOT, 'packages/ebb/dist'), join(copy, 'dist'), { recursive: true })
    writeFileSync(join(copy, 'package.json'), '{ "type": "module" }')
    mkdirSync(join(copy, 'node_modules'))
    symlinkSync(join(ROOT, 'node_modules/koffi'), join(copy, 'node_modules/koffi'))
    symlinkSync(join(ROOT, 'node_modules/@koromix'), join(copy, 'node_modules/@koromix'))
    const child = auto(
      `${TOOLS}
      import * as one from 'ebb'
      const two = await import('${join(copy, 'dist/index.js')}')
      const governing = one.govern()
      print([one.govern !== two.govern, two.govern() === governing])
      const acts = [one.release(), two.release()]
      print(acts[0] === acts[1])
      await Promise.all(acts)
      await two.release()
      print(governing.stats().acts.asked)
      // A listener's governor of the other copy decides on the same price: two who see the same crowd go act once.
      globalThis.held = weight(5)
      const crowds = [new one.Governor({ budget: 1 }), new two.Governor({ budget: 1 })]
      for (let i = 0; i < 500; i++) crowds.forEach((governor) => governor.joined())
      for (let i = 0; i < 500; i++) crowds.forEach((governor) => governor.left())
      while (governing.stats().acts.asked < 3) await pause(20)
      // No second one would come within a second of it; one of the other copy might have.
      await pause(800)
      print(governing.stats().acts.asked)
      governing.stop()
      print(two.govern() !== governing && one.govern() === two.govern())`
    )
    expect(await child.next()).toEqual([true, true])
    expect(await child.next()).toBe(true)
    expect(await child.next()).toBe(2)
    expect(await child.next()).toBe(3)
    expect(await child.next()).toBe(true)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })
})

function fifo(): string {
  const path = join(directory(), 'pressure')
  execFileSync('mkfifo', [path])
  return path
}

function fileOnDisk(): string {
  const path = join(directory(), 'pressure')
  writeFileSync(path, '')
  return path
}

/** A service manager's socket. */
async function socket(): Promise<{ path: string; say(): void }> {
  const path = join(directory(), 'pressure')
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.on('error', () => {})))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    path,
    say() {
      for (const socket of sockets) socket.write('x')
    }
  }
}

/** A program that gives back when it is signalled, and tells its parent. */
function forkable(): string {
  const path = join(directory(), 'forked.mjs')
  writeFileSync(
    path,
    `import { subscribe } from 'node:diagnostics_channel'
    const acts = []
    subscribe('ebb:release', ({ reason }) => {
      acts.push(reason)
      process.send(acts, () => process.exit())
    })
    process.kill(process.pid, 'SIGUSR2')
    setInterval(() => {}, 1000)`
  )
  return path
}

/** How often a child's main thread has waited for something. */
function wakes(child: Child): number {
  const status = readFileSync(`/proc/${child.process.pid}/task/${child.process.pid}/status`, 'utf8')
  return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1])
}
