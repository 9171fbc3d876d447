/** `ebb/auto` and `govern()` in child processes, each with a real cause for a release. */
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from './support/child.js'
import { clients, directory, until } from './support/sockets.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/**
 * Starts a program with `--import ebb/auto`. Does not watch memory pressure of this machine unless `environment` says
 * so.
 */
function auto(source: string, environment: Record<string, string> = {}, before = ':'): Child {
  const quiet = { MEMORY_PRESSURE_WATCH: '/dev/null', ...environment }
  const exports = Object.entries(quiet).map(([name, value]) => `export ${name}='${value}'`)
  return new Child(source, { args: ['--import', 'ebb/auto'], shell: [...exports, before].join('; ') })
}

/** Functions for programs: print JSON, make garbage, open and close descriptors, wait. */
const TOOLS = `
  import fs from 'node:fs'
  const print = (value) => console.log(JSON.stringify(value))
  const weight = (mb) =>
    Array.from({ length: mb }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
  const crowd = (count) => Array.from({ length: count }, () => fs.openSync('/dev/null'))
  const leave = (fds) => fds.splice(0).forEach((fd) => fs.closeSync(fd))
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
`

const LINE = new RegExp(
  String.raw`^ebb: gave back -?\d+\.\d MB \(\d+\.\d -> \d+\.\d\) in \d+ ms, ` +
    String.raw`longest pause \d+ ms: (spike|limit|pressure|signal|asked)$`,
  'gm'
)

const START_LINE =
  /ebb: governor started: budget \d+(?:\.\d+)? %, longest pause \d+ ms, (?:no memory limit|memory limit \d+\.\d MB), (?:no memory pressure|memory pressure from \/\S+)/

/** The reasons of the releases that a child has logged. */
function reasons(child: Child): string[] {
  return [...child.stderr.matchAll(LINE)].map(([, reason = '']) => reason)
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

describe('after a spike', () => {
  test('the crowd of a plain server leaves while small pulses go on', async () => {
    const child = auto(
      `${TOOLS}
      import net from 'node:net'
      // A connection has a socket and some state of the program.
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
    expect(reasons(child)).toEqual([])
    destroy(big)
    const going = pulse()
    try {
      await child.until(() => reasons(child).length > 0)
    } finally {
      pulses = false
      await going
    }
    expect(reasons(child)).toEqual(['spike'])
  })

  test('a burst of work ends, without a crowd', async () => {
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
    await child.until(() => reasons(child).includes('spike'))
  })

  test('a crowd that comes during a lull keeps its memory', async () => {
    const child = auto(
      `${TOOLS}
      const end = performance.now() + 2000
      while (performance.now() < end) {
        weight(2)
        await pause(1)
      }
      print('quiet')
      // A lull must last 4 s. The crowd comes in the middle of it, with enough memory for a release.
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
    const before = reasons(child).length
    expect(await child.next()).toBe(2)
    expect(reasons(child)).toHaveLength(before)
  })

  test('no release while the program uses its memory', async () => {
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
    // Its start may count as a spike. After 4 s with little work, its memory may, too.
    await pause(1500)
    const before = reasons(child).length
    expect(before).toBeLessThanOrEqual(1)
    await pause(1500)
    expect(reasons(child)).toHaveLength(before)
    child.tell('go')
    await child.until(() => reasons(child).length > before)
    expect(reasons(child).at(-1)).toBe('spike')
  })
})

/** Prints the last release, and how many there were, once there is one that returned more than 50 MB. */
const REPORT = `
  import { subscribe } from 'node:diagnostics_channel'
  subscribe('ebb:release', ({ reason, before, afterTrim, workers }) => {
    if (before - afterTrim > 50e6) print({ reason, workers, left: afterTrim })
  })`

interface Report {
  reason: string
  workers: number
  left: number
}

describe('after a spike without sockets', () => {
  /** The default limits of price, but for the pause: on a busy machine it can be long. */
  const limits = { EBB_MAX_PAUSE: '10s' }

  test('worker threads made garbage, and stay', async () => {
    const child = auto(
      `${TOOLS} ${REPORT}
      import { Worker } from 'node:worker_threads'
      const source = \`
        import { parentPort } from 'node:worker_threads'
        parentPort.on('message', () => {
          let garbage = []
          for (let i = 0; i < 400_000; i++) garbage.push({ i, pair: [i, i] })
          parentPort.postMessage('done')
        })\`
      const workers = Array.from({ length: 3 }, () => new Worker(source, { eval: true }))
      const done = workers.map((worker) => new Promise((resolve) => worker.once('message', resolve)))
      workers.forEach((worker) => worker.postMessage('go'))
      await Promise.all(done)`,
      limits
    )
    expect(await child.next<Report>()).toMatchObject({ reason: 'spike', workers: 3 })
  })

  test.each([
    ['of ebb/auto, which asks the workers', []],
    ['of govern(), which asks by the inspector', ['govern']]
  ])('a busy worker with a large heap is left out by a governor %s', async (_, [govern]) => {
    const source = `${TOOLS} ${REPORT}
      import { Worker } from 'node:worker_threads'
      ${govern === undefined ? '' : "import { govern } from 'ebb'; govern({ maxPause: 60, pressure: false })"}
      const busy = \`
        globalThis.live = Array.from({ length: 2_000_000 }, (_, i) => ({ i, pair: [i, i] }))
        setInterval(() => {
          const end = performance.now() + 10
          while (performance.now() < end);
        }, 20)
        import('node:worker_threads').then(({ parentPort }) => parentPort.postMessage('there'))\`
      const burst = \`
        import { parentPort } from 'node:worker_threads'
        parentPort.on('message', () => {
          let garbage = []
          for (let i = 0; i < 800_000; i++) garbage.push({ i, pair: [i, i] })
          parentPort.postMessage('done')
        })\`
      const once = (worker) => new Promise((resolve) => worker.once('message', resolve))
      await once(new Worker(busy, { eval: true }))
      print('there')
      const worker = new Worker(burst, { eval: true })
      worker.postMessage('go')
      await once(worker)`
    const child =
      govern === undefined
        ? auto(source, { EBB_MAX_PAUSE: '60ms' })
        : new Child(source, { shell: 'export MEMORY_PRESSURE_WATCH=/dev/null' })
    expect(await child.next()).toBe('there')
    // The other worker collects: the two of them would be two.
    expect(await child.next<Report>()).toMatchObject({ reason: 'spike', workers: 1 })
  })

  test('worker threads made garbage beside a large live heap, which is left alone', async () => {
    const child = auto(
      `${TOOLS}
      import { subscribe } from 'node:diagnostics_channel'
      import { Worker } from 'node:worker_threads'
      globalThis.live = weight(250)
      const source = \`
        let garbage = []
        for (let i = 0; i < 800_000; i++) garbage.push({ i, pair: [i, i] })
        garbage = undefined
        setInterval(() => {}, 1000)
        import('node:worker_threads').then(({ parentPort }) => parentPort.postMessage('done'))\`
      const workers = Array.from({ length: 3 }, () => new Worker(source, { eval: true }))
      await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
      subscribe('ebb:release', ({ reason, collected, workers, before, afterTrim }) => {
        if (before - afterTrim > 50e6) print({ reason, collected, workers })
      })`
    )
    expect(await child.next()).toEqual({ reason: 'spike', collected: false, workers: 3 })
  })

  test('the thread pool filled large buffers', async () => {
    const child = auto(
      `${TOOLS} ${REPORT}
      import { promisify } from 'node:util'
      import { gzip } from 'node:zlib'
      const compress = promisify(gzip)
      let held = []
      const end = performance.now() + 2500
      while (performance.now() < end) {
        const texts = Array.from({ length: 4 }, () => compress(Buffer.alloc(8_000_000, Math.random().toString())))
        held.push(Buffer.alloc(10_000_000, 1), ...(await Promise.all(texts)))
      }
      held = undefined
      setInterval(() => {}, 1000)`,
      limits
    )
    expect(await child.next<Report>()).toMatchObject({ reason: 'spike', workers: 0 })
  })

  test('a loop that never idles dropped large buffers', async () => {
    const child = auto(
      `${TOOLS} ${REPORT}
      const turn = () => setImmediate(turn)
      turn()
      await pause(2000)
      let held = Array.from({ length: 3000 }, () => Buffer.alloc(50_000, 1))
      await pause(1000)
      held = undefined`,
      limits
    )
    expect(await child.next<Report>()).toMatchObject({ reason: 'spike', workers: 0 })
  })

  test('the queue of a slow client grew until the client was closed', async () => {
    const child = auto(
      `${TOOLS} ${REPORT}
      import net from 'node:net'
      const server = net.createServer((socket) => {
        const timer = setInterval(() => {
          socket.write(Buffer.alloc(500_000, 1))
          if (socket.writableLength < 120e6) return
          clearInterval(timer)
          socket.destroy()
        }, 20)
      })
      server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').pause())`,
      limits
    )
    expect(await child.next<Report>()).toMatchObject({ reason: 'spike', workers: 0 })
  })
})

describe('at an acceptable cost', () => {
  test('a steady load beside a large live heap: one release learns what is alive', { timeout: 120_000 }, async () => {
    const lives = ['weight(250)', 'Array.from({ length: 6000 }, () => Buffer.alloc(100_000, 1))']
    const children = lives.map((live) =>
      auto(
        `${TOOLS}
        import { govern } from 'ebb'
        globalThis.live = ${live}
        const governor = govern()
        const start = performance.now()
        while (performance.now() - start < 25_000) {
          weight(0.1)
          Buffer.alloc(100_000, 1)
          await pause(20)
        }
        const { releases, ms } = governor.stats()
        print({ releases: releases.spike, share: ms / (performance.now() - start), live: live.length })
        process.exit()`,
        { EBB_MAX_PAUSE: '1m' }
      )
    )
    for (const child of children) {
      const { releases, share } = await child.next<{ releases: number; share: number }>()
      expect(releases).toBeLessThanOrEqual(2)
      expect(share).toBeLessThan(0.2)
    }
  })

  test('at most one release in a minute of steady load', { timeout: 120_000 }, async () => {
    const child = auto(
      `${TOOLS}
      import http from 'node:http'
      const server = http.createServer((request, response) => {
        response.end(JSON.stringify(Array.from({ length: 200 }, (_, i) => ({ i, text: String(i) }))))
      })
      // Never: a request could arrive just when the server closes an idle connection.
      server.keepAliveTimeout = 0
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      const agent = new http.Agent({ keepAlive: true, maxSockets: 30 })
      const target = { port: server.address().port, host: '127.0.0.1', agent }
      const ask = () => http.get(target, (response) => response.resume())
      setInterval(() => {
        for (let i = 0; i < 5; i++) ask()
      }, 10)
      await pause(60_000)
      print('done')
      process.exit()`,
      { EBB_LOG: '1' }
    )
    expect(await child.next()).toBe('done')
    expect(reasons(child).length).toBeLessThanOrEqual(1)
  })

  test('a large live heap: no release after a fall, but under memory pressure', async () => {
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
    await child.until(() => reasons(child).length > 0)
    expect(reasons(child)).toEqual(['pressure'])
  })

  test('a program that leaks: releases stay within the budget', async () => {
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
    // Each release waits until the cost of those before is within the budget.
    const paid = done.slice(0, -1).reduce((sum, ms) => sum + ms, 0)
    expect(paid / 0.01).toBeLessThan(elapsed)
  })
})

describe('when memory is short', () => {
  test.each([
    ['a FIFO', fifo],
    ['a socket', socket]
  ])('systemd reports it through %s', async (_, make) => {
    const watched = make()
    const path = typeof watched === 'string' ? watched : (await watched).path
    const child = auto(`${TOOLS} process.stdin.resume(); print('there')`, {
      EBB_LOG: '1',
      MEMORY_PRESSURE_WATCH: path
    })
    await child.next()
    if (typeof watched === 'string') writeFileSync(path, 'x')
    else (await watched).say()
    await child.until(() => reasons(child).length > 0)
    expect(reasons(child)).toEqual(['pressure'])
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

  test.skipIf(!hasPsi)('systemd names the file of the kernel, and what to write to it', async () => {
    const child = auto(watching, {
      MEMORY_PRESSURE_WATCH: '/proc/pressure/memory',
      MEMORY_PRESSURE_WRITE: Buffer.from('some 150000 2000000\0').toString('base64')
    })
    expect(await child.next()).toBe('/proc/pressure/memory')
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('systemd says not to watch', async () => {
    const child = auto(watching, { MEMORY_PRESSURE_WATCH: '/dev/null' })
    expect(await child.next()).toBe(null)
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('EBB_PRESSURE=0 says not to watch', async () => {
    const child = auto(watching, { EBB_PRESSURE: '0', MEMORY_PRESSURE_WATCH: '/nowhere' })
    expect(await child.next()).toBe(null)
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test.each([
    ['a regular file', () => fileOnDisk()],
    ['a missing file', () => '/nowhere/pressure']
  ])('a source that cannot be watched is one warning, and the program runs: %s', async (_, path) => {
    const child = auto(`${watching}; process.stdin.resume()`, {
      EBB_SIGNAL: 'SIGUSR2',
      EBB_LOG: '1',
      MEMORY_PRESSURE_WATCH: path()
    })
    expect(await child.next()).toBe(null)
    child.process.kill('SIGUSR2')
    await child.until(() => reasons(child).length > 0)
    child.process.stdin.end()
    const { code, stderr } = await child.ended
    expect(code).toBe(0)
    expect(
      stderr.match(/\[EBB_NO_PRESSURE\] Warning: ebb cannot watch memory pressure \(MEMORY_PRESSURE_WATCH\): /g)
    ).toHaveLength(1)
  })

  test('an invalid MEMORY_PRESSURE_WATCH is one line, and exit code 1', async () => {
    const child = auto(watching, { MEMORY_PRESSURE_WATCH: 'relative' })
    expect(await child.ended).toEqual({
      code: 1,
      signal: null,
      stderr: 'ebb/auto: MEMORY_PRESSURE_WATCH must be an absolute path, not "relative"\n'
    })
  })

  /** A program whose memory grows again and again without a fall of descriptors or of work. */
  const GROWS = `${TOOLS}
    process.stdin.resume()
    print('there')
    await pause(1000)
    setInterval(() => weight(40), 500)`

  test('near the limit it releases memory without a fall', async () => {
    const environment = { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s' }
    const near = auto(GROWS, { ...environment, EBB_LIMIT: '0' })
    await near.until(() => reasons(near).length > 0)
    expect(reasons(near)[0]).toBe('limit')
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

  function makeGroup(): void {
    mkdirSync(group)
    onTestFinished(async () => {
      await until(() => readFileSync(join(group, 'cgroup.procs'), 'utf8') === '')
      rmdirSync(group)
    })
  }

  test.skipIf(!grouped)('near a limit that a cgroup of v1 gets while the program runs', async () => {
    makeGroup()
    const environment = { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s', EBB_LIMIT: '0.1' }
    const child = auto(GROWS, environment, `echo $$ > '${group}/cgroup.procs'`)
    await child.next()
    expect(child.stderr).toContain('no memory limit')
    await pause(1500)
    expect(reasons(child)).not.toContain('limit')
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(600e6))
    await child.until(() => reasons(child).includes('limit'))
    child.process.kill('SIGKILL')
    await child.ended
  })

  test.skipIf(!grouped)('near the limit of a cgroup of v1', async () => {
    makeGroup()
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(400e6))
    const environment = { EBB_LOG: '1', EBB_EVERY: '100', EBB_MAX_PAUSE: '10s', EBB_LIMIT: '0.1' }
    const child = auto(GROWS, environment, `echo $$ > '${group}/cgroup.procs'`)
    await child.until(() => reasons(child).length > 0)
    expect(reasons(child)[0]).toBe('limit')
    child.process.kill('SIGKILL')
    await child.ended
  })
})

describe('on request', () => {
  test('each signal causes a release, whatever it costs', async () => {
    const child = auto(`${TOOLS} process.stdin.resume(); print('there')`, {
      EBB_SIGNAL: 'SIGUSR2',
      EBB_LOG: '1',
      EBB_BUDGET: '0.000001',
      EBB_MAX_PAUSE: '1'
    })
    await child.next()
    for (let i = 1; i <= 3; i++) {
      child.process.kill('SIGUSR2')
      await child.until(() => reasons(child).length === i)
    }
    expect(reasons(child)).toEqual(['signal', 'signal', 'signal'])
    child.process.stdin.end()
    expect(await child.ended).toMatchObject({ code: 0, signal: null })
  })

  test('release() appears in a message, stats, metrics, and the log', async () => {
    const child = auto(
      `${TOOLS}
      import { subscribe } from 'node:diagnostics_channel'
      import { govern, release } from 'ebb'
      const messages = []
      subscribe('ebb:release', (message, name) => messages.push({ message, name }))
      const governing = govern({ log: false })
      const done = await release()
      const { acts, releases, returned, ms, longestPause, last } = governing.stats()
      print({ done, messages, acts, releases, returned, ms, longestPause, last })
      print(governing.metrics())
      governing.stop()
      governing.stop()
      await release()
      // Without a governor, releases are published all the same.
      print([messages.map(({ message }) => message.reason), governing.stats().acts.asked, govern() !== governing])`,
      { EBB_LOG: '1' }
    )
    const { done, messages, acts, releases, returned, ms, longestPause, last } = await child.next<{
      done: { before: number; afterTrim: number; ms: number; pauseMs: number }
      messages: unknown[]
      acts: object
      releases: object
      returned: number
      ms: number
      longestPause: number
      last: object
    }>()
    const message = { ...done, reason: 'asked' }
    expect(messages).toEqual([{ message, name: 'ebb:release' }])
    expect(last).toEqual(message)
    expect(acts).toEqual({ spike: 0, limit: 0, pressure: 0, signal: 0, asked: 1 })
    expect(releases).toEqual(acts)
    expect(returned).toBe(Math.max(0, done.before - done.afterTrim))
    expect([ms, longestPause]).toEqual([done.ms, done.pauseMs])
    expect(await child.next()).toContain('\nebb_releases_total{reason="asked"} 1\n')
    expect(await child.next()).toEqual([['asked', 'asked'], 1, true])
    const { code, stderr } = await child.ended
    expect(code).toBe(0)
    expect(stderr).toMatch(new RegExp(`^${START_LINE.source}\n${LINE.source.slice(1, -1)}\n$`))
  })
})

describe('the environment', () => {
  test.each([
    ['EBB_BUDGET', '2', 'EBB_BUDGET must be a share of CPU time above 0 and at most 1, not 2'],
    ['EBB_BUDGET', 'x', 'EBB_BUDGET must be a number, not "x"'],
    ['EBB_MAX_PAUSE', '0', 'EBB_MAX_PAUSE must be milliseconds above 0, not 0'],
    ['EBB_MAX_PAUSE', 'soon', /^EBB_MAX_PAUSE must be milliseconds, or a time with a unit .*, not "soon"$/],
    ['EBB_WORTH', '-1', 'EBB_WORTH must be a number of bytes from 0 on, not -1'],
    ['EBB_EVERY', '99', 'EBB_EVERY must be at least 100 milliseconds, not 99'],
    ['EBB_PRESSURE', 'maybe', 'EBB_PRESSURE must be 1 or 0, not "maybe"'],
    ['EBB_LIMIT', '1.5', 'EBB_LIMIT must be a share from 0 to 1, not 1.5'],
    ['EBB_SIGNAL', 'USR2', 'EBB_SIGNAL must be a signal such as SIGWINCH, not "USR2"'],
    [
      'EBB_SIGNAL',
      'SIGKILL',
      /^EBB_SIGNAL must be a signal that a program can catch, such as SIGWINCH, not "SIGKILL"$/
    ],
    ['EBB_WORKERS', '2', 'EBB_WORKERS must be 1 or 0, not "2"'],
    ['EBB_LOG', 'yes', 'EBB_LOG must be 1 or 0, not "yes"']
  ])('%s=%s is one line, and exit code 1', (name, value, sentence) => {
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

  test('EBB_LOG=1 prints a line at the start, which is not the line of a release', async () => {
    const child = auto('', { EBB_LOG: '1', EBB_BUDGET: '0.025', EBB_MAX_PAUSE: '20ms', EBB_PRESSURE: '0' })
    const { code, stderr } = await child.ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(new RegExp(`^${START_LINE.source}\n$`)) })
    expect(stderr).toContain('budget 2.5 %, longest pause 20 ms, ')
    expect(stderr).toContain(', no memory pressure\n')
    expect(reasons(child)).toEqual([])
  })

  test('all variables are accepted', async () => {
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
        const source = "import { parentPort } from 'node:worker_threads'; parentPort.postMessage(${ebbSymbols})"
        const worker = new Worker(source, { eval: true })
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

describe('the start', () => {
  const KOFFI = `
    import { createRequire } from 'node:module'
    const { cache } = createRequire('/')
    const hasKoffi = () => Object.keys(cache).some((path) => path.includes('koffi'))`

  test('a program that ends soon loads neither the governor nor koffi', async () => {
    const child = auto(`${KOFFI}; process.on('exit', () => console.log(hasKoffi()))`)
    expect(await child.next()).toBe(false)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('a program that runs for longer does', async () => {
    const child = auto(
      `${KOFFI}; while (!hasKoffi()) await new Promise((resolve) => setTimeout(resolve, 20)); console.log(1)`
    )
    expect(await child.next()).toBe(1)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('memory that the program takes before the governor is loaded is released after the crowd', async () => {
    const child = auto(
      `${TOOLS} ${REPORT}
      let held = weight(80)
      const fds = crowd(200)
      print('there')
      await pause(2000)
      held = undefined
      leave(fds)
      setInterval(() => {}, 1000)`,
      { EBB_MAX_PAUSE: '10s', EBB_BUDGET: '1' }
    )
    expect(await child.next()).toBe('there')
    expect(await child.next<Report>()).toMatchObject({ reason: 'spike' })
  })

  test('a release of the program is told with its reason, however early', async () => {
    const child = auto(`
      import { subscribe } from 'node:diagnostics_channel'
      import { release } from 'ebb/memory'
      subscribe('ebb:release', ({ reason }) => console.log(JSON.stringify(reason)))
      await release()`)
    expect(await child.next()).toBe('asked')
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('stop() keeps a governor from starting that has not started', async () => {
    const child = auto(`
      const key = Symbol.for('ebb.governing.1')
      const governor = globalThis[key]
      governor.stop()
      console.log(globalThis[key] === undefined)
      console.log(governor.stats().releases.spike)`)
    expect(await child.next()).toBe(true)
    expect(await child.next()).toBe(0)
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })
})

describe('in any program', () => {
  test('an idle program wakes at most once a second, also if a release would pause too long', async () => {
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
    // The median, because V8 works on its own now and then, and a timer of libuv may wake 1 ms early and wait again.
    expect(counts.map((each) => each.sort((a, b) => a - b)[3])).toEqual([1, 1])
    expect(spiked.stderr).toMatch(new RegExp(`^${START_LINE.source}\n$`))
  })

  test('does not hold the process open', async () => {
    const child = auto(`process.on('exit', () => console.log('"exit"'))`, {
      EBB_SIGNAL: 'SIGUSR2',
      MEMORY_PRESSURE_WATCH: fifo()
    })
    expect(await child.next()).toBe('exit')
    expect(await child.ended).toEqual({ code: 0, signal: null, stderr: '' })
  })

  test('worker threads load no governor, child processes have their own', async () => {
    const child = auto(
      `${TOOLS}
      import { fork } from 'node:child_process'
      import { writeFileSync } from 'node:fs'
      import { Worker } from 'node:worker_threads'
      const source = \`
        import { parentPort } from 'node:worker_threads'
        const symbols = Object.getOwnPropertySymbols(globalThis)
        parentPort.postMessage(symbols.includes(Symbol.for('ebb.governing.1')))
        setInterval(() => {}, 1000)\`
      const worker = new Worker(source, { eval: true })
      worker.once('message', (governed) => {
        print(['worker', governed])
        // fork() passes Node's arguments on, so each process has a governor.
        const forked = fork(process.env.FORKED, { execArgv: ['--import', 'ebb/auto'] })
        forked.once('message', (reasons) => {
          print(['fork', reasons])
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

  test('a worker thread can have a governor of its own', async () => {
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
    ['at its start', 'release(); process.exit(0)'],
    ['in its middle', 'release(); setTimeout(() => process.exit(0), 15)'],
    ['while worker threads collect', 'release({ workers: true }); setImmediate(() => process.exit(0))'],
    ['in its message', "subscribe('ebb:release', () => process.exit(0)); release()"],
    ['after a signal', "process.kill(process.pid, 'SIGUSR2'); setTimeout(() => process.exit(0), 5)"]
  ])('process.exit() during a release: %s', async (_, source) => {
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

  test('a release during shutdown', async () => {
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

  test('two copies of the library share a governor, a cost model and a release', async () => {
    const copy = directory()
    cpSync(dirname(fileURLToPath(import.meta.resolve('ebb'))), join(copy, 'dist'), { recursive: true })
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
      const releases = [one.release(), two.release()]
      print(releases[0] === releases[1])
      await Promise.all(releases)
      await two.release()
      print(governing.stats().acts.asked)
      // Governors of both copies share the cost model: two of them that see the same fall release once.
      globalThis.held = weight(5)
      const crowds = [new one.Governor({ budget: 1 }), new two.Governor({ budget: 1 })]
      for (let i = 0; i < 500; i++) crowds.forEach((governor) => governor.joined())
      for (let i = 0; i < 500; i++) crowds.forEach((governor) => governor.left())
      while (governing.stats().acts.asked < 3) await pause(20)
      // The shared cost model allows no second release within 1 s. A cost model of the other copy would.
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

/** The socket of a service manager. */
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

/** A program that sends itself the signal, and its parent the reason of the release. */
function forkable(): string {
  const path = join(directory(), 'forked.mjs')
  writeFileSync(
    path,
    `import { subscribe } from 'node:diagnostics_channel'
    const reasons = []
    subscribe('ebb:release', ({ reason }) => {
      reasons.push(reason)
      process.send(reasons, () => process.exit())
    })
    process.kill(process.pid, 'SIGUSR2')
    setInterval(() => {}, 1000)`
  )
  return path
}

/** How often the main thread of a child has waited, and so woken up. */
function wakes(child: Child): number {
  const status = readFileSync(`/proc/${child.process.pid}/task/${child.process.pid}/status`, 'utf8')
  return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1])
}
