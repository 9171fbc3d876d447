/** The inside socket of `ebb/auto`: who asks, who answers, and what the program sees of it. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { askInside } from 'ebb/memory'
import { bindSocket, closeDescriptor, constants, createSocket, listenOn, SocketAddress, startConnect } from 'ebb/sys'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Child, type ChildOptions, FEW_DESCRIPTORS } from './support/child.js'
import { clients } from './support/sockets.js'

/** Starts a program with `--import ebb/auto`. It prints its pid, and ends with its input. */
async function auto(source: string, { args = [], env, ...options }: ChildOptions = {}): Promise<[Child, number]> {
  const child = new Child(
    `const print = (value) => console.log(JSON.stringify(value))
    process.stdin.on('end', () => process.exit()).resume()
    print(process.pid)
    ${source}`,
    { args: ['--import', 'ebb/auto', ...args], env: { EBB_PRESSURE: '0', ...env }, ...options }
  )
  return [child, await child.next<number>()]
}

/** Whether this process is root, and other users can read the library. */
function canReadAsNobody(): boolean {
  if (process.geteuid?.() !== 0) return false
  process.seteuid?.(65_534)
  try {
    return readFileSync(createRequire(import.meta.url).resolve('ebb/auto')).length > 0
  } catch {
    return false
  } finally {
    process.seteuid?.(0)
  }
}

/** Returns the code of the error with which a promise is rejected. */
function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code
  )
}

function nameOf(pid: number): { path: string } {
  return { path: `\0ebb-inside-${pid}` }
}

/** Connects to an inside socket as any client may. `net.connect()` of Node 20 pads the name. */
function opened(pid: number): Socket {
  const fd = createSocket(constants.AF_UNIX)
  expect(startConnect(fd, new SocketAddress(nameOf(pid)))).toBe(0)
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
  onTestFinished(() => void socket.destroy())
  return socket
}

/** Waits until a process has opened its inside socket, without asking there. */
async function hasOpened(pid: number): Promise<void> {
  const { path } = nameOf(pid)
  await vi.waitUntil(() => readFileSync('/proc/net/unix', 'latin1').includes(`@${path.slice(1)}\n`), {
    timeout: 30_000
  })
}

/** Returns all that comes until the end. */
async function allOf(socket: Socket): Promise<string> {
  let text = ''
  for await (const part of socket.setEncoding('utf8')) text += part
  return text
}

/** Returns the message of a refusal. */
async function refusalOf(socket: Socket): Promise<string> {
  const { version, error } = JSON.parse(await allOf(socket))
  expect([version, error.code]).toEqual([1, 'ERR_EBB_INSIDE'])
  return error.message
}

describe('a program with ebb/auto', () => {
  test('tells its heap, malloc, governor and servers, and releases memory when asked', async () => {
    const [child, pid] = await auto(`
      import http from 'node:http'
      import { park } from 'ebb'
      import { listen } from 'ebb/listen'
      const server = park(http.createServer((request, response) => response.end('x')), { idle: '1h' })
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      const listener = listen({ port: 0 }, {})
      let held = Array.from({ length: 300_000 }, (_, i) => ({ i, text: String(i) }))
      held = undefined
      print([server.address().port, listener.address.port])`)
    const [http = 0, bare = 0] = await child.next<number[]>()
    await clients({ address: '127.0.0.1', family: 'IPv4', port: http }, 3)
    await clients({ address: '127.0.0.1', family: 'IPv4', port: bare }, 2)
    const inside = await askInside(pid)
    expect(inside).toMatchObject({
      version: 1,
      pid,
      runtime: { name: 'node', version: process.version },
      threads: { workers: 0 },
      handles: { TCPServerWrap: 1 },
      governor: { releases: { spike: 0, asked: 0 } },
      servers: [
        { address: `127.0.0.1:${http}`, protocol: 'http', parked: 3, awake: 0, connections: 3, webSockets: 0 },
        { address: `127.0.0.1:${bare}`, protocol: 'tcp', parked: 2, awake: 0, connections: 2 }
      ]
    })
    const { heap, malloc } = inside
    expect(heap.spaces.map(({ name }) => name)).toEqual(expect.arrayContaining(['new_space', 'old_space']))
    expect(heap.spaces.every(({ used, committed }) => used <= committed)).toBe(true)
    if (malloc !== undefined) {
      expect(malloc.arenas.length).toBeGreaterThan(0)
      expect(malloc.used + malloc.free).toBe(malloc.mapped + malloc.arenas.reduce((sum, { system }) => sum + system, 0))
    }
    const done = await askInside(pid, { ask: 'release', timeout: 60_000 })
    expect(done).toMatchObject({ version: 1, pid, collected: true, inSteps: true, workers: 0 })
    expect(done.before - done.after).toBeGreaterThan(5_000_000)
    expect((await askInside(pid)).governor?.releases.asked).toBe(1)
    expect(child.stderr).toBe('')
  })

  test('is as before but for one descriptor, and ends by itself', async () => {
    const seen = `
      import { readdirSync } from 'node:fs'
      import { once } from 'node:events'
      process.stdin.pause()
      const names = ['exit', 'beforeExit', 'uncaughtException', 'warning']
      const look = () => ({
        descriptors: readdirSync('/proc/self/fd').length,
        resources: process.getActiveResourcesInfo(),
        handles: process._getActiveHandles().length,
        listeners: names.map((name) => process.listenerCount(name)),
        globals: Reflect.ownKeys(globalThis).length
      })
      const { setTimeout: pause } = await import('node:timers/promises')
      await pause(1500)
      print(look())`
    const [on] = await auto(seen)
    const [off] = await auto(seen, { env: { EBB_INSIDE: '0' } })
    const [before, after] = await Promise.all([off.next<{ descriptors: number }>(), on.next<{ descriptors: number }>()])
    expect(after).toEqual({ ...before, descriptors: before.descriptors + 1 })
    expect(await Promise.all([on.ended, off.ended])).toEqual([
      { code: 0, signal: null, stderr: '' },
      { code: 0, signal: null, stderr: '' }
    ])
  })

  test('has a governor although it replaces timers, and sees nothing of it', async () => {
    const [child, pid] = await auto(`
      const { setTimeout: later } = globalThis
      const calls = []
      for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval'])
        globalThis[name] = () => {
          calls.push(name)
          return { ref() {}, unref() {} }
        }
      process.stdin.on('data', () => later(() => print(calls), 100))`)
    expect((await askInside(pid)).governor).toBeDefined()
    child.process.stdin.write('show')
    expect(await child.next()).toEqual([])
  })

  test.runIf(canReadAsNobody())('has a governor although it gives up root at its start', async () => {
    const [child, pid] = await auto('process.setgid(65_534)\nprocess.setuid(65_534)')
    expect((await askInside(pid)).governor).toBeDefined()
    expect(child.stderr).toBe('')
  })

  test.each([
    ['freezes what is global', 'Object.freeze(globalThis)', /^\(node.*EBB_UNSUPPORTED.*ebb\/auto does nothing/],
    ['takes `process` away', 'delete globalThis.process', /^$/]
  ])('runs on without a governor if it %s at its start', async (_, source, stderr) => {
    const [child] = await auto(`${source}; setTimeout(() => print('runs'), 1000)`)
    expect(await child.next()).toBe('runs')
    expect(child.stderr).toMatch(stderr)
  })

  test('has a governor although Node may not require ES modules', async () => {
    const [child, pid] = await auto('', { args: ['--no-experimental-require-module'] })
    expect((await askInside(pid)).governor).toBeDefined()
    expect(child.stderr).toBe('')
  })

  describe('without a descriptor left', () => {
    const short = { shell: FEW_DESCRIPTORS }
    const fill = `
      import fs from 'node:fs'
      const held = []
      const fill = () => {
        try {
          for (;;) held.push(fs.openSync('/dev/null'))
        } catch (error) {
          print(error.code)
        }
      }
      const free = () => held.splice(0).forEach((fd) => fs.closeSync(fd))`

    test('gets its governor as soon as there are some', async () => {
      const [child] = await auto(
        `${fill}
        fill()
        setTimeout(() => {
          free()
          const isOpen = (fd) => {
            try {
              return /^.proc.*stat/.test(fs.readlinkSync('/proc/self/fd/' + fd))
            } catch {
              return false
            }
          }
          setInterval(() => fs.readdirSync('/proc/self/fd').some(isOpen) && print('governed'), 50)
        }, 800)`,
        short
      )
      expect(await child.next()).toBe('EMFILE')
      expect(await child.next()).toBe('governed')
      expect(child.stderr).toBe('')
    })

    test('answers its first question as soon as there are some', async () => {
      const [child, pid] = await auto(
        `${fill}
        process.stdin.once('data', () => {
          fill()
          setTimeout(free, 300)
        })`,
        short
      )
      await hasOpened(pid)
      child.process.stdin.write('fill')
      expect(await child.next()).toBe('EMFILE')
      expect(await askInside(pid, { ask: 'counters', timeout: 30_000 })).toMatchObject({ pid })
    })
  })
})

describe('askers', () => {
  test('get one answer to each bad question', async () => {
    const [child, pid] = await auto('')
    await askInside(pid)
    const questions = [
      ['nonsense\n', /line of JSON/],
      ['\n', /line of JSON/],
      ['"inside"\n', /line of JSON/],
      ['null\n', /line of JSON/],
      ['{"ask":"inside"}\n', /version 1 only, not undefined/],
      ['{"ask":"inside","version":2}\n', /version 1 only, not 2/],
      ['{"ask":"all","version":1}\n', /must be "inside", "counters" or "release"/],
      ['{"ask":["inside"],"version":1}\n', /must be "inside", "counters" or "release"/],
      [`${' '.repeat(1024)}\n`, /at most 1024 bytes/],
      [`{"ask":"inside","version":"${'x'.repeat(60_000)}"}\n`, /at most 1024 bytes/]
    ] as const
    for (const [question, why] of questions) {
      const socket = opened(pid)
      socket.write(question)
      expect(await refusalOf(socket)).toMatch(why)
    }
    // Without an end of line, but with an end.
    const socket = opened(pid)
    socket.end('{"ask":"inside","version":1}')
    expect(JSON.parse(await allOf(socket))).toMatchObject({ version: 1, pid })
    expect(child.stderr).toBe('')
  })

  test('that say nothing or too much, or do not read, keep nobody from an answer for long', async () => {
    const [, pid] = await auto('')
    await askInside(pid)
    const silent = Array.from({ length: 8 }, () => opened(pid))
    silent[0]?.write('{"ask":')
    // All places are taken until the silent ones are sent away.
    const waiting = askInside(pid)
    for (const socket of silent) expect(await refusalOf(socket)).toMatch(/complete, with its end of line, within/)
    expect(await waiting).toMatchObject({ pid })
    const gone = Array.from({ length: 8 }, () => opened(pid))
    for (const socket of gone) socket.destroy()
    expect(await askInside(pid)).toMatchObject({ pid })
  })

  test.runIf(process.geteuid?.() === 0)('of other users are cut off, and do not keep the program busy', async () => {
    const [, pid] = await auto('')
    await askInside(pid)
    const address = new SocketAddress(nameOf(pid))
    const turn = () => new Promise((resolve) => setImmediate(resolve))
    const start = performance.now()
    let connected = 0
    process.seteuid?.(65_534)
    try {
      while (performance.now() < start + 500) {
        const fd = createSocket(constants.AF_UNIX)
        if (startConnect(fd, address) === 0) connected++
        closeDescriptor(fd)
        await turn()
      }
    } finally {
      process.seteuid?.(0)
    }
    // 8 at a time, every 50 ms; about as many wait in the kernel at the end.
    expect(connected).toBeLessThan(8 * ((performance.now() - start) / 50 + 3))
    expect(await askInside(pid)).toMatchObject({ pid })
  })

  test('that call askInside() wrongly, or ask a process that cannot answer, learn why', async () => {
    expect(await codeOf(askInside(0))).toBe('ERR_INVALID_ARG_VALUE')
    expect(await codeOf(askInside(1, { ask: 'all' as 'inside' }))).toBe('ERR_INVALID_ARG_VALUE')
    expect(await codeOf(askInside(1, { timeout: -1 }))).toBe('ERR_INVALID_ARG_VALUE')
    expect(await codeOf(askInside(2 ** 30))).toBe('ESRCH')
    const [off, pid] = await auto('', { env: { EBB_INSIDE: '0' } })
    await expect(askInside(pid, { timeout: 0 })).rejects.toMatchObject({
      code: 'ERR_EBB_NO_INSIDE',
      message: expect.stringMatching(/EBB_INSIDE=0/)
    })
    // Somebody else takes the name.
    const fd = bindSocket(nameOf(pid))
    listenOn(fd, 1)
    onTestFinished(() => closeDescriptor(fd))
    await expect(askInside(pid)).rejects.toMatchObject({
      code: 'ERR_EBB_NO_INSIDE',
      message: expect.stringContaining(`taken by process ${process.pid}`)
    })
    off.process.kill('SIGKILL')
    await off.ended
    expect(await codeOf(askInside(pid))).toBe('ESRCH')
  })

  test('of a stopped process are told so', async () => {
    const [child, pid] = await auto('')
    await askInside(pid)
    child.process.kill('SIGSTOP')
    await expect(askInside(pid, { timeout: 200 })).rejects.toMatchObject({
      code: 'ERR_EBB_INSIDE_TIMEOUT',
      message: expect.stringMatching(/stopped/)
    })
    child.process.kill('SIGCONT')
    expect(await askInside(pid)).toMatchObject({ pid })
  })
})
