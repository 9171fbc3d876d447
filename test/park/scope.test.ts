/**
 * In which scope the listeners of a program are called. A store of `AsyncLocalStorage` often says who a request belongs
 * to, so a store that gets to another connection is a breach between tenants.
 *
 * The servers and the checks are in support/scopes.mjs.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Child } from '../support/child.js'

const home = mkdtempSync(join(tmpdir(), 'ebb-'))
afterAll(() => rmSync(home, { recursive: true }))
const [key, cert] = [join(home, 'key.pem'), join(home, 'cert.pem')]

/** Whether there is a certificate: not without the program `openssl`. */
const hasTls = ((): boolean => {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  try {
    execFileSync('openssl', [...request, '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

interface Played {
  faults: string[]
  events: string[]
  left: number[]
  moving: unknown[]
  ids: [number, number]
  thrown: [number, number]
  wrongContext: unknown[]
}

const NET = ['close', 'connection', 'data', 'disconnect', 'drain', 'drop', 'server close']
const HTTP = ['clientError', 'connection', 'disconnect', 'drop', 'finish', 'request', 'request end', 'response close']
const EVENTS: Record<string, string[]> = {
  'park(net)': NET,
  "park(net, { first: 'server' })": NET,
  'ebb/net': NET,
  'park(http)': [...HTTP, 'server close', 'server timeout', 'socket close', 'upgrade'],
  'park(https)': [...HTTP, 'secureConnection', 'server close', 'socket close', 'tlsClientError'],
  'parkWebSockets()': ['close', 'error', 'message', 'ping', 'pong', 'server close', 'socket close', 'socket error'],
  'hibernate()': ['close', 'drain', 'error', 'message', 'open', 'upgrade'],
  'listen()': ['close', 'data', 'drain', 'open']
}
const kinds = Object.keys(EVENTS).filter((kind) => hasTls || kind !== 'park(https)')

const PROGRAM = new URL('../support/scopes.mjs', import.meta.url).href

/** Source of a program that plays a kind of server. */
function program(kind: string, throws: boolean): string {
  const pem = (file: string) => JSON.stringify(hasTls ? readFileSync(file, 'utf8') : '')
  return `
    Object.assign(process.env, { KEY: ${pem(key)}, CERT: ${pem(cert)} })
    const { play } = await import(${JSON.stringify(PROGRAM)})
    await play(${JSON.stringify(kind)}, ${throws})`
}

describe.each(kinds)('%s', (kind) => {
  const isRight = {
    faults: [],
    events: EVENTS[kind],
    left: expect.toSatisfy((counts: number[]) => counts.every((count) => count === 0)),
    moving: [],
    wrongContext: []
  }

  test('no store gets to another connection, server or caller; ticks run after the whole listener', async () => {
    const played = await new Child(program(kind, false)).next<Played>()
    expect(played).toMatchObject({ ...isRight, thrown: [0, 0] })
    // Each connection has an async id of its own.
    expect(played.ids[0]).toBeGreaterThan(5)
    expect(played.ids[0]).toBe(played.ids[1])
  })

  test('all of that holds when listeners throw; each exception is reported once, in its context', async () => {
    const played = await new Child(program(kind, true)).next<Played>()
    expect(played).toMatchObject(isRight)
    expect(played.thrown[0]).toBeGreaterThan(10)
    expect(played.thrown[0]).toBe(played.thrown[1])
  })
})

test.each(['park(net)', 'listen()'])('in a worker thread: %s', async (kind) => {
  const source = program(kind, true)
  const child = new Child(`
    import { Worker } from 'node:worker_threads'
    new Worker(${JSON.stringify(`void (async () => {${source}})()`)}, { eval: true })`)
  const played = await child.next<Played>()
  expect(played).toMatchObject({ faults: [], events: EVENTS[kind], moving: [], wrongContext: [] })
  expect(played.thrown[0]).toBe(played.thrown[1])
})

test('callbacks of a caller keep the context of the caller', async () => {
  const child = new Child(`
    import { AsyncLocalStorage } from 'node:async_hooks'
    import net from 'node:net'
    import { createServer } from 'ebb/net'
    const storage = new AsyncLocalStorage()
    const seen = []
    const see = (what) => seen.push(what + ': ' + storage.getStore())
    const server = createServer({ idle: 10 }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', () => storage.run('writer', () => socket.write('answer', () => see('write()'))))
    })
    storage.run('listener', () => server.listen(0, '127.0.0.1', () => see('listen()')))
    await new Promise((resolve) => server.once('listening', resolve))
    const peer = net.connect(server.address().port, '127.0.0.1')
    peer.write('x')
    await new Promise((resolve) => peer.once('data', resolve))
    while (server.stats().parked === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    await storage.run('broadcaster', async () => {
      await server.broadcast('all', () => see('filter'))
      see('broadcast()')
    })
    server.on('close', () => see("'close'"))
    const closed = new Promise((resolve) => {
      storage.run('closer', () => server.close(() => resolve(see('close()'))))
    })
    storage.run('ender', () => server.closeAllConnections())
    await closed
    console.log(JSON.stringify(seen))`)
  expect(await child.next()).toEqual([
    'listen(): listener',
    'write(): writer',
    'filter: broadcaster',
    'broadcast(): broadcaster',
    "'close': undefined",
    'close(): closer'
  ])
})

const ORDER = `
  import net from 'node:net'
  import { park, listen } from 'ebb'
  const log = []
  const busy = (name) => {
    process.nextTick(() => log.push('tick of ' + name))
    Promise.resolve().then(() => log.push('microtask of ' + name))
    log.push(name)
  }
  const dial = (port) => new Promise((resolve) => {
    const peer = net.connect(port, '127.0.0.1', () => resolve(peer)).on('error', () => {}).resume()
  })
  /** Calls \`act\` for five clients in one turn, in which the event loop does nothing else. */
  const all = async (port, peers, act) => {
    for (const peer of peers) act(peer)
    // The kernel has all of it before the server looks.
    const end = performance.now() + 20
    while (performance.now() < end);
    await new Promise((resolve) => setTimeout(resolve, 50))
    console.log(JSON.stringify(log.splice(0)))
  }`

/** What the listeners of five connections log: each is done with its ticks and microtasks before the next begins. */
function inTurn(log: string[], name: string): void {
  const each = log.filter((entry) => entry.startsWith(name))
  expect(each).toHaveLength(5)
  expect(log).toEqual(each.flatMap((entry) => [entry, `tick of ${entry}`, `microtask of ${entry}`]))
}

test('listeners of several connections in one batch: ticks of one run before the next', async () => {
  const child = new Child(`${ORDER}
    const server = park(net.createServer())
    server.on('connection', (socket, { id }) => {
      socket.on('error', () => {}).resume()
      busy('connection ' + id)
    })
    server.on('disconnect', ({ id }) => busy('disconnect ' + id))
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address()
    const peers = await Promise.all([1, 2, 3, 4, 5].map(() => dial(port)))
    await all(port, peers, (peer) => peer.write('x'))
    setTimeout(() => server.closeAllConnections(), 10)
    await all(port, peers, () => {})
    server.close()`)
  inTurn(await child.next<string[]>(), 'connection')
  expect((await child.next<string[]>()).filter((entry) => entry.startsWith('disconnect'))).toHaveLength(5)
})

test.each([true, false])('handlers of several connections in one batch (asyncContext: %s)', async (asyncContext) => {
  const child = new Child(`${ORDER}
    const { address: { port }, close } = listen({ port: 0, giveBack: false, asyncContext: ${asyncContext} }, {
      open: ({ id }) => busy('open ' + id),
      data: ({ id }) => busy('data ' + id),
      close: ({ id }) => busy('close ' + id)
    })
    let peers = []
    await all(port, [1, 2, 3, 4, 5], () => peers.push(dial(port)))
    peers = await Promise.all(peers)
    await all(port, peers, (peer) => peer.write('x'))
    await all(port, peers, (peer) => peer.destroy())
    process.exit()`)
  for (const name of ['open', 'data', 'close']) inTurn(await child.next<string[]>(), name)
})

test('a store that a handler without a context enters stays with the handlers of listen()', async () => {
  const child = new Child(`
    import { AsyncLocalStorage } from 'node:async_hooks'
    import net from 'node:net'
    import { listen, park } from 'ebb'
    const storage = new AsyncLocalStorage()
    const seen = []
    const dial = (port) => new Promise((resolve) => net.connect(port, '127.0.0.1', resolve))
    const listener = listen({ port: 0, giveBack: false, asyncContext: false }, {
      open() { storage.enterWith('tenant') }
    })
    const parked = park(net.createServer(() => seen.push(storage.getStore() ?? 'none')), { first: 'server' })
    await new Promise((resolve) => parked.listen(0, '127.0.0.1', resolve))
    for (let i = 0; i < 5; i++) {
      await Promise.all([dial(listener.address.port), dial(parked.address().port), dial(listener.address.port)])
    }
    while (seen.length < 5) await new Promise((resolve) => setTimeout(resolve, 5))
    console.log(JSON.stringify(seen))
    process.exit()`)
  expect(await child.next()).toEqual(['none', 'none', 'none', 'none', 'none'])
})

test.each([
  ['a capture callback', "process.setUncaughtExceptionCaptureCallback((error) => say('captured', error))"],
  [
    'uncaughtExceptionMonitor',
    "process.on('uncaughtExceptionMonitor', (error) => say('monitored', error)).on('uncaughtException', () => {})"
  ],
  ['a domain of the server', "domain = create('server')"],
  ['a domain of listen()', "listening = create('listen')"],
  ['a domain of a listener', "inner = create('inner')"]
])('exceptions get to %s as with plain Node', async (_, setUp) => {
  const play = async (parks: boolean): Promise<unknown[]> => {
    const child = new Child(
      `
      import net from 'node:net'
      import { park } from 'ebb'
      const seen = []
      const say = (how, { message }) => seen.push(how + ' ' + message)
      let domain, listening, inner
      const create = (name) => process.getBuiltinModule('node:domain').create().on('error', (error) => say(name, error))
      const within = (domain, run) => domain === undefined ? run() : domain.run(run)
      ${setUp}
      process.on('uncaughtException', (error) => say('uncaught', error))
      let n = 0
      const server = within(domain, () => net.createServer())
      if (${parks}) park(server, { first: 'server' })
      server.on('connection', (socket) => {
        socket.on('error', () => {}).resume()
        const message = 'connection ' + ++n
        within(inner, () => { throw new Error(message) })
      })
      within(listening, () => server.listen(0, '127.0.0.1', () => {
        for (let i = 0; i < 3; i++) net.connect(server.address().port, '127.0.0.1').on('error', () => {})
        const timer = setInterval(() => {
          if (n < 3) return
          clearInterval(timer)
          setImmediate(() => {
            console.log(JSON.stringify(seen))
            process.exit()
          })
        }, 5)
      }))`.replace(/(process\.on\('uncaughtException', [^\n]*)/, setUp.includes('Capture') ? '' : '$1')
    )
    return await child.next()
  }
  const plain = await play(false)
  expect(plain.length).toBeGreaterThanOrEqual(3)
  expect(await play(true)).toEqual(plain)
})
