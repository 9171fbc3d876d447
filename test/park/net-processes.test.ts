/** Parked TCP servers in worker threads, in workers of a cluster, and where connections cannot be parked. */
import { rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child, type ChildOptions } from '../support/child.js'
import { descriptorsReturn, eventually, outcome } from '../support/net-parity.js'
import { freePort, gone, quiet, readExactly } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 5

async function dial(port: number): Promise<Socket> {
  const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  onTestFinished(() => void peer.destroy())
  await new Promise<void>((resolve, reject) => {
    peer.once('connect', resolve)
    peer.once('error', reject)
  })
  peer.removeAllListeners('error').on('error', () => {})
  return peer
}

function dials(port: number, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => dial(port)))
}

async function expectEcho(peer: Socket, text = 'hello'): Promise<void> {
  peer.write(text)
  expect(`${await readExactly(peer, text.length)}`).toBe(text)
}

async function expectRefused(port: number): Promise<void> {
  const said = await dial(port).then(
    // The server waits for no further connection.
    (peer) => void peer.destroy(),
    (error: NodeJS.ErrnoException) => error.code
  )
  expect(said).toBe('ECONNREFUSED')
}

/** For both servers: an echo that ends on `bye`. */
const SERVER = `
  const server = createServer({ idle: ${IDLE} }, (socket, connection) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      if (String(bytes) === 'throw') throw new Error('in a worker')
      if (String(bytes) === 'exit') process.exit(3)
      if (String(bytes) === 'wakes') socket.write(String(connection.wakes))
      else socket.write(bytes)
    })
  })`

describe('a worker thread', () => {
  /**
   * A process with worker threads. Commands by line: `start`, `terminate`, `close`, `stats`, `alive`; responses in
   * JSON.
   */
  const withWorkers = (options?: ChildOptions): Child =>
    new Child(
      `
    import { readdirSync } from 'node:fs'
    import { createInterface } from 'node:readline'
    import { Worker } from 'node:worker_threads'
    const source = ${JSON.stringify(`
      const { parentPort } = require('node:worker_threads')
      import('ebb/net').then(({ createServer }) => {
        ${SERVER}
        server.listen(0, '127.0.0.1', () => parentPort.postMessage({ port: server.address().port, supported: server.supported }))
        parentPort.on('message', (message) => {
          if (message === 'close') {
            parentPort.unref()
            server.close()
          }
          if (message === 'stats') parentPort.postMessage(server.stats())
          if (message === 'broadcast') server.broadcast('to all').then((count) => parentPort.postMessage(count))
        })
      })`)}
    let worker
    let error
    const exited = []
    const once = (event) => new Promise((resolve) => worker.once(event, resolve))
    createInterface(process.stdin).on('line', async (line) => {
      let said = null
      if (line === 'start') {
        worker = new Worker(source, { eval: true, execArgv: [] })
        worker.on('error', ({ message }) => { error = message })
        worker.on('exit', (code) => exited.push(code))
        said = await once('message')
      } else if (line === 'terminate') said = await worker.terminate()
      else if (line === 'close') worker.postMessage('close')
      else if (line === 'state') said = { exited, error, descriptors: readdirSync('/proc/self/fd').length }
      else {
        worker.postMessage(line)
        said = await once('message')
      }
      console.log(JSON.stringify(said))
    })`,
      options
    )

  interface State {
    exited: number[]
    error?: string
    descriptors: number
  }

  test('connections are parked, woken and written to as in the main thread', async () => {
    const child = withWorkers()
    const { port, supported } = await child.ask<{ port: number; supported: boolean }>('start')
    expect(supported).toBe(true)
    const peers = await dials(port, 20)
    for (let wakes = 1; wakes <= 3; wakes++) {
      for (const peer of peers) await expectEcho(peer)
      await eventually(async () =>
        expect(await child.ask('stats')).toMatchObject({ parked: 20, awake: 0, woken: 20 * wakes })
      )
    }
    expect(await child.ask('broadcast')).toBe(20)
    for (const peer of peers) expect(`${await readExactly(peer, 6)}`).toBe('to all')
    expect(await child.ask('stats')).toMatchObject({ parked: 20, awake: 0, woken: 60 })
    for (const peer of peers) peer.destroy()
    await eventually(async () => expect(await child.ask('stats')).toMatchObject({ parked: 0, awake: 0 }))
    await child.ask('terminate')
  })

  test('the thread ends by itself after close() and its last connection, and the process goes on', async () => {
    const child = withWorkers()
    const before = (await child.ask<State>('state')).descriptors
    for (let round = 0; round < 3; round++) {
      const { port } = await child.ask<{ port: number }>('start')
      const peers = await dials(port, 20)
      for (const peer of peers.slice(0, 10)) await expectEcho(peer)
      await child.ask('close')
      // The worker waits for a parked connection, too.
      for (let i = 0; i < 4; i++) await quiet()
      expect((await child.ask<State>('state')).exited).toHaveLength(round)
      await expectEcho(peers[15] as Socket)
      for (const peer of peers) peer.end()
      await Promise.all(peers.map((peer) => gone(peer.resume())))
      await eventually(async () => expect((await child.ask<State>('state')).exited).toHaveLength(round + 1))
      await expectRefused(port)
    }
    const { exited, error, descriptors } = await child.ask<State>('state')
    expect({ exited, error }).toEqual({ exited: [0, 0, 0], error: undefined })
    expect(descriptors).toBeLessThanOrEqual(before + 2)
  })

  test.each(['terminate()', 'process.exit()', 'an uncaught error'])(
    '%s: the port is closed, clients are told, and the process goes on',
    async (how) => {
      const child = withWorkers()
      let before = 0
      for (let round = 0; round < 5; round++) {
        const { port } = await child.ask<{ port: number }>('start')
        const peers = await dials(port, 20)
        for (const peer of peers.slice(0, 10)) await expectEcho(peer)
        // Some are parked, some are just being woken.
        for (const peer of peers.slice(5)) peer.write('x')
        const [last] = peers as [Socket]
        if (how === 'terminate()') await child.ask('terminate')
        else last.write(how === 'process.exit()' ? 'exit' : 'throw')
        await eventually(async () => expect((await child.ask<State>('state')).exited).toHaveLength(round + 1))
        await expectRefused(port)
        // Parked connections, too: their descriptors belong to the process and would outlive the thread.
        for (const peer of peers) {
          const { ended, reset } = await outcome(peer)
          expect(ended || reset).toBe(true)
        }
        const { descriptors } = await child.ask<State>('state')
        if (round === 0) before = descriptors
        expect(descriptors).toBeLessThan(before + 10)
      }
      const { exited, error } = await child.ask<State>('state')
      const code = how === 'process.exit()' ? 3 : 1
      expect({ exited, error }).toEqual({
        exited: Array(5).fill(code),
        ...(how.startsWith('an') && { error: 'in a worker' })
      })
      // Another thread can serve.
      const { port } = await child.ask<{ port: number }>('start')
      await expectEcho(await dial(port))
      await child.ask('terminate')
    }
  )

  test.each([
    ['a port', '{ port: 0, host: "127.0.0.1" }'],
    ['a port with SO_REUSEPORT', '{ port: 0, host: "127.0.0.1", reusePort: true }'],
    ['a path', `{ path: ${JSON.stringify(join(tmpdir(), `ebb-thread-${process.pid}.sock`))} }`]
  ])('a thread that listens on %s and is terminated closes no descriptor of another thread', async (_, options) => {
    const child = new Child(
      `
      import fs from 'node:fs'
      import { Worker } from 'node:worker_threads'
      const source = ${JSON.stringify(`
        const { parentPort } = require('node:worker_threads')
        import('ebb/net').then(({ createServer }) => {
          ${SERVER}
          server.listen(${options}, () => setTimeout(() => parentPort.postMessage('ready'), 50))
        })`)}
      const worker = new Worker(source, { eval: true, execArgv: [] })
      await new Promise((resolve) => worker.once('message', resolve))
      // These get the numbers that the thread has released so far.
      const files = Array.from({ length: 40 }, () => fs.openSync('/dev/null'))
      await worker.terminate()
      const isOpen = (fd) => fs.existsSync('/proc/self/fd/' + fd)
      console.log(JSON.stringify(files.filter((fd) => !isOpen(fd))))`
    )
    expect(await child.next()).toEqual([])
    rmSync(join(tmpdir(), `ebb-thread-${process.pid}.sock`), { force: true })
  })

  test('five threads, beside a server in the main thread', async () => {
    const child = new Child(`
      import { Worker } from 'node:worker_threads'
      import { createServer } from 'ebb/net'
      ${SERVER}
      server.listen(0, '127.0.0.1')
      const source = ${JSON.stringify(`
        import('ebb/net').then(({ createServer }) => {
          ${SERVER}
          server.listen(0, '127.0.0.1', () => require('node:worker_threads').parentPort.postMessage(server.address().port))
        })`)}
      const workers = Array.from({ length: 5 }, () => new Worker(source, { eval: true, execArgv: [] }))
      const ports = await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
      console.log(JSON.stringify([server.address().port, ...ports]))
      process.stdin.once('data', async () => {
        await Promise.all(workers.map((worker) => worker.terminate()))
        console.log('"terminated"')
      })`)
    const ports = await child.next<number[]>()
    const peers = (await Promise.all(ports.map((port) => dials(port, 10)))).flat()
    for (let round = 0; round < 3; round++) {
      for (const peer of peers) peer.write('hello')
      for (const peer of peers) expect(`${await readExactly(peer, 5)}`).toBe('hello')
      await quiet()
    }
    expect(await child.ask('terminate')).toBe('terminated')
    const [main, ...others] = ports as [number, ...number[]]
    for (const port of others) await expectRefused(port)
    await expectEcho(peers[0] as Socket)
    await expectEcho(await dial(main))
  })
})

describe('a cluster of two', () => {
  /** Prints the port of each worker. Commands by line: `stats`, `kill` (the first worker), `exit` (of the workers). */
  const cluster = (listen: string, kind = 'ebb/net'): Child =>
    new Child(`
      import cluster from 'node:cluster'
      import { createInterface } from 'node:readline'
      const told = []
      let wake
      cluster.on('message', (worker, message) => { told.push({ worker: worker.id, ...message }); wake?.() })
      const listening = []
      cluster.on('listening', (worker, address) => listening.push([worker.id, address]))
      const exits = []
      cluster.on('exit', (worker, code, signal) => exits.push([worker.id, code, signal]))
      cluster.setupPrimary({ execArgv: [], exec: ${JSON.stringify(WORKER)}, args: ${JSON.stringify([listen, kind])} })
      cluster.fork()
      cluster.fork()
      const take = async (count, kind) => {
        for (;;) {
          const found = told.filter((message) => kind in message)
          if (found.length >= count) {
            for (const message of found) told.splice(told.indexOf(message), 1)
            return found
          }
          await new Promise((resolve) => { wake = resolve })
        }
      }
      console.log(JSON.stringify((await take(2, 'port')).map(({ port }) => port)))
      createInterface(process.stdin).on('line', async (line) => {
        const workers = Object.values(cluster.workers)
        if (line === 'stats') {
          for (const worker of workers) worker.send('stats')
          console.log(JSON.stringify((await take(workers.length, 'stats')).map(({ stats }) => stats)))
        } else if (line === 'kill') {
          workers[0].once('exit', () => console.log(JSON.stringify(workers.length - 1)))
          workers[0].process.kill('SIGKILL')
        } else if (line === 'disconnect') {
          cluster.disconnect(async () => {
            while (exits.length < 2) await new Promise((resolve) => cluster.once('exit', resolve))
            console.log(JSON.stringify(exits))
          })
        }
        else console.log(JSON.stringify(listening.length))
      })`)

  const WORKER = new URL('../support/cluster-worker.mjs', import.meta.url).pathname

  interface Stats {
    parked: number
    awake: number
    accepted: number
    woken: number
  }

  test.each([
    ['port 0', 'port: 0'],
    ['one port', ''],
    ['one shared port', 'exclusive: false']
  ])('%s: both listen on it, and share what comes', async (_, listen) => {
    const free = await freePort()
    const child = cluster(`{ host: '127.0.0.1', ${listen.includes('port') ? listen : `port: ${free}, ${listen}`} }`)
    const [one, other] = await child.next<number[]>()
    expect(other).toBe(one)
    const port = one as number
    const peers = await dials(port, 60)
    for (let round = 1; round <= 3; round++) {
      for (const peer of peers) peer.write('hello')
      for (const peer of peers) expect(`${await readExactly(peer, 5)}`).toBe('hello')
      await eventually(async () => {
        const all = await child.ask<Stats[]>('stats')
        expect(all.reduce((sum, { parked }) => sum + parked, 0)).toBe(60)
        expect(all.reduce((sum, { woken }) => sum + woken, 0)).toBe(60 * round)
        expect(all.every(({ accepted }) => accepted > 0)).toBe(true)
      })
    }
    expect(await child.ask('listening')).toBe(2)
    // One worker is killed: its connections break, and the other goes on.
    expect(await child.ask('kill')).toBe(1)
    await eventually(() => {
      for (const peer of peers) peer.read()
      const broken = peers.filter((peer) => peer.destroyed || peer.readableEnded)
      expect(broken.length).toBeGreaterThan(0)
      expect(broken.length).toBeLessThan(60)
    })
    const more = await dials(port, 10)
    for (const peer of more) await expectEcho(peer)
    for (const peer of [...peers, ...more]) peer.destroy()
    await child.ask('disconnect')
    await expectRefused(port)
  })

  /** What each worker says when the program is started twice: that it listens, or its error. */
  async function twice(kind: string, options: string): Promise<unknown> {
    const port = await freePort()
    const seen: string[][] = []
    for (let i = 0; i < 2; i++) {
      const said = await cluster(`{ port: ${port}, host: '127.0.0.1', ${options} }`, kind).next<unknown[]>()
      seen.push(said.map((text) => String(text).replaceAll(String(port), 'port')).sort())
    }
    return seen
  }

  const PARKED_KINDS = ['park(net)', 'ebb/net', 'park(http)']

  test.each(['', 'exclusive: true'])(
    'started twice, { %s }: the second one fails as with plain Node',
    async (options) => {
      const [plain, ...parked] = await Promise.all(['plain net', ...PARKED_KINDS].map((kind) => twice(kind, options)))
      for (const seen of parked) expect(seen).toEqual(plain)
      const error = expect.stringContaining('EADDRINUSE')
      expect(plain).toEqual([options === '' ? ['port', 'port'] : [error, 'port'], [error, error]])
    }
  )

  test('started twice, { reusePort: true }: all workers share the port', async () => {
    for (const seen of await Promise.all(PARKED_KINDS.map((kind) => twice(kind, 'reusePort: true')))) {
      expect(seen).toEqual(Array(2).fill(['port', 'port']))
    }
  })

  test('disconnect(): workers end with their last connection', async () => {
    const child = cluster(`{ host: '127.0.0.1', port: ${await freePort()} }`)
    const [port] = (await child.next<number[]>()) as [number]
    const peers = await dials(port, 10)
    for (const peer of peers) await expectEcho(peer)
    child.tell('disconnect')
    await eventually(async () => await expectRefused(port))
    for (const peer of peers) await expectEcho(peer)
    for (const peer of peers) peer.destroy()
    const exits = await child.next<[number, number, string | null][]>()
    expect(exits.map(([, code, signal]) => [code, signal])).toEqual([
      [0, null],
      [0, null]
    ])
  })
})

describe('a server is sent to another process', () => {
  const KINDS: Record<string, string> = {
    net: "net.createServer((socket) => socket.on('error', () => {}).on('data', () => socket.end('parent')))",
    http: "http.createServer((request, response) => response.end('parent'))"
  }
  const RECEIVER = `
    process.on('message', async (message, server) => {
      if (message === 'close') {
        receiver.close(() => process.send('closed'))
        return
      }
      globalThis.receiver = server
      if (message === 'park') (await import('ebb')).park(server)
      server?.on('error', ({ code }) => process.send(code))
      server?.on('connection', (socket) => socket.on('error', () => {}).on('data', () => socket.end('child')))
      process.send(typeof server)
    })`

  /** The process that has the server. Commands by line: `dial`, `close`, `close child`, `descriptors`. */
  const sender = (kind: string, parks: string, where: object, through: string): Child =>
    new Child(`
      import { fork } from 'node:child_process'
      import cluster from 'node:cluster'
      import { readdirSync } from 'node:fs'
      import http from 'node:http'
      import net from 'node:net'
      import { createInterface } from 'node:readline'
      import { park } from 'ebb'
      const say = (value) => console.log(JSON.stringify(value))
      const server = ${KINDS[kind]}
      if (${parks !== 'neither'}) park(server)
      await new Promise((resolve) => server.listen(${JSON.stringify(where)}, resolve))
      const address = server.address()
      const target = typeof address === 'string' ? { path: address } : address
      const dial = () => new Promise((resolve) => {
        const peer = net.connect(target.path ? target : { port: target.port, host: '127.0.0.1' })
        let text = ''
        peer.on('data', (bytes) => { text += bytes })
        peer.on('error', ({ code }) => resolve(code)).on('close', () => resolve(text.slice(-6).trim()))
        peer.write('GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
      })
      const before = readdirSync('/proc/self/fd').length
      const source = ['--input-type=module', '--eval', ${JSON.stringify(RECEIVER)}]
      let child
      if (${through === 'worker.send'}) {
        cluster.setupPrimary({ exec: 'receiver', execArgv: source })
        child = cluster.fork()
      } else child = fork('receiver', [], { execArgv: source })
      const heard = () => new Promise((resolve) => child.once('message', resolve))
      const error = await new Promise((resolve) => child.send('${parks === 'both' ? 'park' : 'here'}', server, resolve))
      say([await heard(), error])
      createInterface(process.stdin).on('line', async (line) => {
        if (line === 'dial') say(await Promise.all(Array.from({ length: 6 }, dial)))
        if (line === 'close') server.close(() => say('closed'))
        if (line === 'close child') { child.send('close'); say(await heard()) }
        if (line === 'end') {
          child.removeAllListeners().once('exit', (code, signal) => setTimeout(() => {
            say([code, signal, readdirSync('/proc/self/fd').length - before])
            process.exit()
          }, 50))
          child.disconnect()
        }
      })`)

  const cases = Object.keys(KINDS).flatMap((kind) =>
    ['child.send', 'worker.send'].flatMap((through) =>
      ['the sender', 'both'].map((parks): [string, string, string] => [kind, through, parks])
    )
  )
  test.each(cases)('%s, %s(), parked by %s: both serve, and either goes on when the other closes', async (...args) => {
    const [kind, through, parks] = args
    for (const first of ['close', 'close child']) {
      const play = async (who: string): Promise<unknown[]> => {
        const child = sender(kind, who, { port: 0, host: '127.0.0.1' }, through)
        const seen = [await child.next()]
        const served = await child.ask<string[]>('dial')
        seen.push(served.every((text) => text === 'parent' || text === 'child'))
        const second = first === 'close' ? 'close child' : 'close'
        for (const line of [first, 'dial', second, 'dial', 'end']) seen.push(await child.ask(line))
        return [...seen, (await child.ended).code]
      }
      const plain = await play('neither')
      expect(await play(parks)).toEqual(plain)
      expect(plain).toContainEqual(Array(6).fill(first === 'close' ? 'child' : 'parent'))
    }
  })

  test.each(['before it listens', 'after it was closed'])('%s: the error of plain Node', async (when) => {
    const play = async (parks: boolean): Promise<unknown> => {
      const child = new Child(`
        import { fork } from 'node:child_process'
        import net from 'node:net'
        import { park } from 'ebb'
        const server = net.createServer()
        if (${parks}) park(server)
        if (${when !== 'before it listens'}) {
          await new Promise((resolve) => server.listen(0, resolve))
          await new Promise((resolve) => server.close(resolve))
        }
        const child = fork('receiver', [], { execArgv: ['--eval', "process.once('message', (_, server) => process.send(typeof server))"] })
        const seen = []
        child.once('message', (type) => seen.push(type)).on('exit', () => console.log(JSON.stringify(seen)))
        child.on('error', ({ code }) => seen.push(code))
        try { child.send('here', server, (error) => seen.push(error?.code)) } catch ({ code }) { seen.push(code); child.kill() }
        setTimeout(() => child.kill(), 1000)`)
      return await child.next()
    }
    expect(await play(true)).toEqual(await play(false))
  })
})

describe('where connections cannot be parked', () => {
  const ways: [string, string][] = [
    [
      'no koffi',
      `import Module from 'node:module'
      const load = Module._load
      Module._load = (name, ...rest) => {
        if (name === 'koffi') throw new Error("Cannot find module 'koffi'")
        return load(name, ...rest)
      }`
    ],
    ['not Linux', "Object.defineProperty(process, 'platform', { value: 'darwin' })"]
  ]

  test.each(ways)('%s: one warning, and everything works as in plain Node', async (_, before) => {
    const child = new Child(`
      ${before}
      const warnings = []
      process.on('warning', ({ code, message }) => warnings.push([code, message]))
      const net = await import('node:net')
      const { park } = await import('ebb')
      const { createServer } = await import('ebb/net')
      const listener = (socket, connection) => {
        socket.on('error', () => {})
        connection.attachment = { wakes: connection.wakes }
        connection.keepAwake = true
        connection.keepAwake = false
        socket.on('data', (bytes) => {
          const known = server.connection(socket) === connection
          if (String(bytes) === 'connection') connection.send(JSON.stringify({
            known,
            id: typeof connection.id,
            wakes: connection.wakes,
            attachment: connection.attachment,
            states: [connection.parked, connection.closed],
            park: connection.park(),
            unknown: server.send(connection.id + 1000, 'x')
          }))
          else if (String(bytes) === 'send') server.send(connection.id, 'sent')
          else if (String(bytes) === 'broadcast') server.broadcast('all', (id) => id !== connection.id).then((count) => socket.write(String(count)))
          else if (String(bytes) === 'large') {
            try { connection.attachment = 'x'.repeat(20_000) } catch (error) { socket.write(error.code) }
          } else socket.write(bytes)
        })
      }
      const causes = []
      const server = createServer({ idle: ${IDLE} }, listener)
      server.on('disconnect', (connection, cause) => causes.push([cause, connection.attachment, connection.closed]))
      const other = park(net.createServer((socket) => socket.end('other')), { idle: ${IDLE} })
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      await new Promise((resolve) => other.listen(0, '127.0.0.1', resolve))
      const report = () => console.log(JSON.stringify({
        port: server.address()?.port, other: other.address()?.port, supported: [server.supported, other.supported],
        warnings, stats: server.stats(), causes
      }))
      setImmediate(report)
      process.stdin.on('data', (line) => {
        if (String(line) === 'close\\n') { process.stdin.destroy(); server.close(); other.close() }
        else report()
      })`)
    interface Report {
      port: number
      other: number
      supported: boolean[]
      warnings: [string, string][]
      stats: Record<string, unknown>
      causes: unknown[]
    }
    const first = await child.next<Report>()
    expect(first.supported).toEqual([false, false])
    expect(first.warnings).toEqual([['EBB_UNSUPPORTED', expect.stringMatching(/plain Node/)]])
    const { port } = first
    const [peer, quiet_] = await dials(port, 2)
    if (peer === undefined || quiet_ === undefined) throw new Error('unreachable')
    // An accepted connection is awake, as in plain Node.
    await eventually(async () =>
      expect((await child.ask<Report>('?')).stats).toMatchObject({ accepted: 2, awake: 2, parked: 0 })
    )
    await expectEcho(peer)
    // The connections are idle, and none is parked.
    await quiet()
    await expectEcho(peer)
    const ask = async (question: string, length: number): Promise<string> => {
      peer.write(question)
      return `${await readExactly(peer, length)}`
    }
    expect(await ask('send', 4)).toBe('sent')
    expect(await ask('broadcast', 1)).toBe('1')
    expect(`${await readExactly(quiet_, 3)}`).toBe('all')
    expect(await ask('large', 28)).toBe('ERR_EBB_ATTACHMENT_TOO_LARGE')
    const expected = JSON.stringify({
      known: true,
      id: 'number',
      wakes: 1,
      attachment: { wakes: 1 },
      states: [false, false],
      park: false,
      unknown: false
    })
    expect(JSON.parse(await ask('connection', expected.length))).toEqual(JSON.parse(expected))
    expect((await outcome(await dial(first.other))).received).toBe('other')
    peer.end()
    quiet_.resetAndDestroy()
    await eventually(async () => {
      const { stats, causes } = await child.ask<Report>('?')
      expect(stats).toMatchObject({ parked: 0, awake: 0, accepted: 2, woken: 2, parkedAgain: 0 })
      expect(stats.closed).toEqual({ peer: 0, reset: 0, timeout: 0, server: 0, socket: 2, proxy: 0, slow: 0 })
      expect(causes).toEqual(Array(2).fill(['socket', { wakes: 1 }, true]))
    })
    const last = await child.ask<Report>('?')
    expect(last.warnings).toHaveLength(1)
    child.tell('close')
    expect(await child.ended).toMatchObject({ code: 0 })
  })
})
