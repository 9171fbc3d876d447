/** Public functions refuse arguments of a wrong type with a code, and warn of options that they do not know. */
import { spawnSync } from 'node:child_process'
import http from 'node:http'
import net from 'node:net'
import type { Connection } from 'ebb'
import { Governor, govern, listen, park, release } from 'ebb'
import {
  findMemoryCgroup,
  foldersUpwards,
  isRunning,
  KernelMemory,
  ProcessTree,
  ProcessView,
  readStat
} from 'ebb/memory'
import { metrics } from 'ebb/metrics'
import { createServer } from 'ebb/net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from './support/child.js'
import { ROOT } from './support/cli.js'
import { eventually } from './support/net-parity.js'

const REFUSED = { code: 'ERR_INVALID_ARG_VALUE', name: 'TypeError' }

const circle: Record<string, unknown> = {}
circle.circle = circle
const WRONG = [null, 5, Number.NaN, 1n, 'x', Symbol('s'), true, {}, circle, Object.create(null), [], new Uint16Array(1)]
const NO_OBJECT = [null, 5, 1n, 'x', Symbol('s'), true, [], () => {}]

/** Calls `call` with each value. */
function expectRefused(values: unknown[], call: (value: never) => unknown): void {
  for (const value of values) expect(() => call(value as never)).toThrow(expect.objectContaining(REFUSED))
}

describe('metrics()', () => {
  test('register() of anything but a registry, and observe() of anything but a Meter', () => {
    const all = metrics({ runtime: false })
    onTestFinished(() => all.stop())
    // The module in place of its export, the provider in place of its meter.
    const others = [...WRONG, undefined, { register: { getSingleMetric() {} } }, { getMeter() {} }]
    expectRefused(others, (value) => all.register(value))
    expectRefused(others, (value) => all.observe(value))
    expect(() => all.register({} as never)).toThrow('register() takes a registry of prom-client, such as its export')
  })
})

describe('park()', () => {
  test('of anything but a server', () => {
    const app = (_request: unknown, _response: unknown): void => {}
    Object.assign(app, { prependListener: app, on: app })
    expectRefused([...WRONG, undefined, app, new net.Socket()], park)
    expect(() => park(app as never)).toThrow('not a function; http.createServer(app) makes a server of an application')
  })

  test('twice', () => {
    const server = park(net.createServer())
    expectRefused([server], park)
    expect(() => park(server)).toThrow('this server is parked already: call park() once for each server')
  })

  test('with wrong options', () => {
    const options = (name: string) => (value: unknown) => park(http.createServer(), { [name]: value })
    expectRefused(NO_OBJECT, (value) => park(http.createServer(), value))
    expectRefused([null, 1n, 'x', Symbol('s'), true, circle, []], options('idle'))
    expectRefused(WRONG, options('first'))
    expectRefused([null, 1n, 'x', Symbol('s'), circle, -1, 0.5], options('attachmentLimit'))
    expectRefused([null, 5, 'x', Symbol('s'), []], options('giveBack'))
  })

  test('and methods of the server', async () => {
    const server = park(http.createServer())
    expectRefused([null, 1n, '5', Symbol('s'), {}], server.closeConnection)
    expectRefused([null, 1n, '5', Symbol('s'), {}], server.queued)
    expectRefused([null, 1n, '5', Symbol('s'), {}], (id) => server.send(id, 'x'))
    expectRefused(
      [undefined, ...WRONG, { socket: new net.Socket() }, new http.IncomingMessage(new net.Socket())],
      server.stream
    )
    for (const value of WRONG.filter((value) => typeof value !== 'string')) {
      await expect(server.broadcast(value as never)).rejects.toMatchObject(REFUSED)
      await expect(server.broadcast('x', value as never)).rejects.toMatchObject(REFUSED)
    }
    for (const value of [undefined, ...WRONG]) expect(server.connection(value as never)).toBe(undefined)
  })
})

test('createServer() of ebb/net', () => {
  expectRefused(['x', 5, {}, []], (listener) => createServer({}, listener))
})

test('data to send, parked or awake', async () => {
  let connection: { send(bytes: never): boolean; park(): boolean; readonly parked: boolean } | undefined
  const server = createServer({ idle: false }, (socket, woken) => {
    connection = woken
    socket.resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const peer = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  onTestFinished(() => void [peer.destroy(), server.close()])
  peer.write('x')
  await eventually(() => expect(connection).toBeDefined())
  const wrong = [undefined, ...WRONG.filter((value) => typeof value !== 'string')]
  expectRefused(wrong, (value) => connection?.send(value))
  await eventually(() => expect(connection?.park()).toBe(true))
  expectRefused(wrong, (value) => connection?.send(value))
})

describe('listen()', () => {
  test('with wrong options and handlers', () => {
    expectRefused([undefined, ...NO_OBJECT], listen)
    expectRefused(NO_OBJECT, (handlers) => listen({ port: 0 }, handlers))
    for (const name of ['open', 'data', 'drain', 'close', 'error'])
      expectRefused(WRONG, (value) => listen({ port: 0 }, { [name]: value }))
    const option = (name: string) => (value: unknown) => listen({ port: 0, [name]: value })
    for (const name of ['host', 'backlog'])
      expectRefused(
        WRONG.filter((value) => value !== 5),
        option(name)
      )
    for (const name of ['ipv6Only', 'reusePort', 'noDelay', 'keepAlive'])
      expectRefused(
        WRONG.filter((value) => value !== true),
        option(name)
      )
    expectRefused(
      WRONG.filter((value) => value !== 5),
      option('port')
    )
    expectRefused(
      WRONG.filter((value) => value !== 'x'),
      (path) => listen({ path })
    )
    expectRefused([null, 5, 'x', []], option('giveBack'))
  })

  test('and bytes to write', async () => {
    let connection: Connection | undefined
    const server = listen(
      { port: 0 },
      {
        open(opened) {
          connection = opened
        }
      }
    )
    const { port } = server.address as { port: number }
    const peer = net.connect(port, '127.0.0.1')
    onTestFinished(() => void [peer.destroy(), server.closeConnections(), server.close()])
    await eventually(() => expect(connection).toBeDefined())
    const wrong = WRONG.filter((value) => typeof value !== 'string')
    expectRefused([undefined, ...wrong], (value) => connection?.write(value))
    expectRefused(wrong, (value) => connection?.end(value))
    expect(connection?.write('still open')).toBe(true)
  })
})

test('release() rejects', async () => {
  for (const value of NO_OBJECT) await expect(release(value as never)).rejects.toMatchObject(REFUSED)
  for (const name of ['workers', 'inSteps', 'enough'])
    await expect(release({ [name]: 'x' })).rejects.toMatchObject(REFUSED)
})

test('governors', () => {
  expectRefused(NO_OBJECT, govern)
  for (const name of ['budget', 'maxPause', 'worth', 'every', 'limit', 'pressure', 'signal', 'workers', 'log'])
    expectRefused([null, 1n, '1', Symbol('s'), {}, circle, []], (value) => govern({ [name]: value }))
  expectRefused(NO_OBJECT, (options) => new Governor(options))
  for (const name of ['budget', 'least', 'worth', 'onRelease'])
    expectRefused([null, 1n, '1', Symbol('s'), {}, circle, []], (value) => new Governor({ [name]: value }))
})

test('ebb/memory', () => {
  const wrong = [null, Number.NaN, 1n, '1', Symbol('s'), Object.create(null), [], 0]
  for (const call of [readStat, (pid: number) => new KernelMemory(pid)]) expectRefused(wrong, call)
  for (const call of [(pid: number) => new ProcessView(pid), (pid: number) => new ProcessTree(pid)])
    for (const pid of wrong) expect(() => call(pid as never)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  for (const call of [findMemoryCgroup, foldersUpwards, isRunning]) expectRefused(NO_OBJECT, call)
})

describe('unknown options cause a process warning, once for each name', () => {
  const WARN = "process.on('warning', ({ code, message }) => console.log(JSON.stringify([code, message])))\n"

  async function warnings(program: string): Promise<string[]> {
    const child = new Child(`${WARN}${program}\nsetImmediate(() => process.exit(0))`, {})
    const seen: string[] = []
    for (;;) {
      const line = await child.next<[string, string]>().catch(() => undefined)
      if (line === undefined) return seen
      expect(line[0]).toBe('EBB_UNKNOWN_OPTION')
      seen.push(line[1])
    }
  }

  test.each([
    [
      'park(http.createServer(), { idel: 5 }); park(http.createServer(), { idel: 6 })',
      'park() ignores the unknown option "idel": did you mean idle?'
    ],
    [
      'park(http.createServer(), { colour: 5 })',
      'park() ignores the unknown option "colour": the known ones are idle, first, firstByteTimeout, attachmentLimit, carry, maxQueued, overflow, proxyProtocol, giveBack'
    ],
    [
      'createServer({ idel: 5, noDelay: true })',
      'createServer() ignores the unknown option "idel": did you mean idle?'
    ],
    ['govern({ maxPuase: 3 }).stop()', 'govern() ignores the unknown option "maxPuase": did you mean maxPause?'],
    ['void release({ worker: true })', 'release() ignores the unknown option "worker": did you mean workers?'],
    ['new Governor({ lest: 3 })', 'Governor ignores the unknown option "lest": did you mean least?'],
    ['void listen({ port: 0, hots: "::1" }).close()', 'listen() ignores the unknown option "hots": did you mean host?'],
    ['void listen({ port: 0 }, { dta() {} }).close()', 'listen() ignores the unknown option "dta": did you mean data?']
  ])('%s', async (call, warning) => {
    const imports = `import http from 'node:http'
      import { Governor, govern, listen, park, release } from 'ebb'
      import { createServer } from 'ebb/net'\n`
    expect(await warnings(`${imports}${call}`)).toEqual([warning])
  })

  test('but not those of Node, undefined ones, and other methods of an object with handlers', async () => {
    const program = `import net from 'node:net'
      import { listen, park } from 'ebb'
      import { createServer } from 'ebb/net'
      createServer({ noDelay: true, keepAlive: true, allowHalfOpen: true, pauseOnConnect: true, highWaterMark: 5 })
      park(net.createServer(), { colour: undefined })
      void listen({ port: 0 }, { data() {}, sessions: new Map() }).close()`
    expect(await warnings(program)).toEqual([])
  })

  test('ebb/auto: variables', () => {
    const { status, stderr } = spawnSync(process.execPath, ['--import', 'ebb/auto', '--eval', ''], {
      cwd: ROOT,
      env: { EBB_BUGET: '1', EBB_COLOUR: '1', EBB_BENCH_HEAP: '1', EBB_PORT_80_TCP: 'x', EBB_SERVICE_HOST: 'x' },
      encoding: 'utf8'
    })
    expect({ status, warnings: stderr.match(/Warning: .*/g) }).toEqual({
      status: 0,
      warnings: [
        'Warning: ebb/auto ignores the unknown variable EBB_BUGET: did you mean EBB_BUDGET?',
        expect.stringMatching(
          /^Warning: ebb\/auto ignores the unknown variable EBB_COLOUR: the known ones are EBB_BUDGET, .*, EBB_INSIDE$/
        )
      ]
    })
  })
})
