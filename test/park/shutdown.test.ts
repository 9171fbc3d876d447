/** Ends of a parked server: close() and libraries that call it, shutdown(), and workers that leave a cluster. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import { connect, type Server, Socket } from 'node:net'
import { join } from 'node:path'
import { type AddressInfo, listen, type Parked, type ParkOptions, park, type ShutdownReport } from 'ebb'
import { createServer } from 'ebb/net'
import { connectBlocking, SocketAddress } from 'ebb/sys'
import Fastify from 'fastify'
import { createHttpTerminator } from 'http-terminator'
import stoppable from 'stoppable'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from '../support/child.js'
import { descriptorsReturn } from '../support/net-parity.js'
import { closesSilent } from '../support/parity.js'
import { directory, freePort, gone, readAll, readExactly, target, until } from '../support/sockets.js'

descriptorsReturn()

const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
const IDLE = 25

async function listening<S extends Server>(server: S, ...target: [path?: string]): Promise<S> {
  await new Promise<void>((resolve) =>
    target[0] ? server.listen(target[0], resolve) : server.listen(0, '127.0.0.1', resolve)
  )
  onTestFinished(() => {
    server.close()
    if ('closeAllConnections' in server) (server as unknown as Parked).closeAllConnections()
  })
  return server
}

const web = (options?: ParkOptions, handler: http.RequestListener = (_, response) => response.end('hello')) =>
  listening(park(http.createServer({ keepAliveTimeout: 600_000 }, handler), { idle: IDLE, ...options }))

/** Connects a client, which ends its side when the server does. */
async function client(address: AddressInfo | { path: string }): Promise<Socket> {
  const socket = connect(target(address as AddressInfo))
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket.on('error', () => {})
}

function addressOf(server: Server): { address: string; family: 'IPv4'; port: number } {
  return { ...(server.address() as { address: string; port: number }), family: 'IPv4' }
}

/** Connects clients that never speak, and waits until they are no longer new. */
async function silent(server: Server & Parked, count = 3): Promise<Socket[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => client(addressOf(server))))
  await until(() => server.stats().parked >= count)
  await new Promise((resolve) => setTimeout(resolve, 150))
  return sockets
}

/** Makes a request, and waits until its connection sleeps. */
async function asleep(server: Server & Parked): Promise<Socket> {
  const socket = await client(addressOf(server))
  const { parkedAgain } = server.stats()
  socket.write(GET)
  await response(socket)
  await until(() => server.stats().parkedAgain > parkedAgain)
  return socket
}

/** Waits until a closed server has no connection: sockets emit `close` a little later than the server. */
async function empty(server: Parked): Promise<void> {
  await until(() => server.stats().parked === 0 && server.stats().awake === 0)
}

/** Reads a response with a Content-Length. */
async function response(socket: Socket): Promise<string> {
  let head = ''
  while (!head.endsWith('\r\n\r\n')) head += await readExactly(socket, 1)
  return `${head}${await readExactly(socket, Number(/content-length: (\d+)/i.exec(head)?.[1]))}`
}

/** Puts connections into the accept queue, each with a request. The event loop does not run meanwhile. */
function queue(address: { address: string; port: number } | { path: string }, count: number, request = GET): Socket[] {
  const target = new SocketAddress('path' in address ? address : { host: address.address, port: address.port })
  return Array.from({ length: count }, () => {
    const socket = new Socket({ fd: connectBlocking(target), readable: true, writable: true })
    onTestFinished(() => void socket.destroy())
    socket.write(request)
    return socket.on('error', () => {})
  })
}

describe('close() with connections that have not sent a byte', () => {
  test('ends at once', async () => {
    const server = await web()
    const sockets = await silent(server)
    await new Promise((resolve) => server.close(resolve))
    expect(server.stats()).toMatchObject({ parked: 0, closed: { server: 3, timeout: 0 } })
    await Promise.all(sockets.map((socket) => gone(socket.resume())))
  })

  test('ends at once for HTTP/2', async () => {
    const server = await listening(park(http2.createServer()))
    await silent(server)
    await new Promise((resolve) => server.close(resolve))
    expect(server.stats()).toMatchObject({ parked: 0, closed: { server: 3 } })
  })

  test('gives a client that has just connected the time for its request', async () => {
    const server = await web()
    const socket = await client(addressOf(server))
    await until(() => server.stats().parked === 1)
    const closed = new Promise((resolve) => server.close(resolve))
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    expect(await response(socket)).toMatch(/hello$/)
    socket.destroy()
    await closed
  })

  test('closes a client that has just connected and stays silent', async () => {
    const server = await web()
    const socket = await client(addressOf(server))
    await until(() => server.stats().parked === 1)
    await new Promise((resolve) => server.close(resolve))
    expect(`${await readAll(socket)}`).toBe('')
  })

  test('does not close a connection whose bytes have arrived', async () => {
    const server = await web()
    const [fresh] = await silent(server, 1)
    const slept = await asleep(server)
    for (const socket of [fresh as Socket, slept]) socket.write(GET)
    // The bytes arrive in the kernel, and the event loop does not run before the close.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of [fresh as Socket, slept]) {
      expect(await response(socket)).toMatch(/hello$/)
      socket.destroy()
    }
    await closed
  })

  test('drops empty lines, and closes', async () => {
    const server = await web()
    const socket = await asleep(server)
    socket.write('\r\n')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    await new Promise((resolve) => server.close(resolve))
    expect(`${await readAll(socket)}`).toBe('')
  })

  test('waits for those of a net server, which may speak at any time', async () => {
    const server = await listening(createServer({ idle: IDLE }, (socket) => socket.pipe(socket)))
    const [socket] = await silent(server, 1)
    const closed = new Promise((resolve) => server.close(resolve))
    socket?.write('hello')
    expect(`${await readExactly(socket as Socket, 5)}`).toBe('hello')
    socket?.end()
    await closed
  })

  test('a server that listens again waits for the first byte as before', async () => {
    const server = await web()
    const one = await client(addressOf(server))
    await until(() => server.stats().parked === 1)
    server.close()
    await listening(server)
    const two = await client(addressOf(server))
    await new Promise((resolve) => setTimeout(resolve, 150))
    two.write(GET)
    expect(await response(two)).toMatch(/hello$/)
    // Where plain Node has closed the client that came before close(), it is closed here, too.
    if (await closesSilent()) return await gone(one.resume())
    one.write(GET)
    expect(await response(one)).toMatch(/hello$/)
  })
})

describe('libraries that shut a server down', () => {
  let requests = 0
  const slowly: http.RequestListener = (_, response) => {
    requests++
    setTimeout(() => response.end('hello'), 50)
  }

  /** Connects clients that are silent, asleep, and in the middle of a request. @returns the answer to the request */
  async function crowd(server: Server & Parked): Promise<{ received: Promise<Buffer> }> {
    await silent(server)
    await asleep(server)
    const working = await client(addressOf(server))
    const before = requests
    working.write(GET)
    await until(() => requests > before)
    return { received: readAll(working) }
  }

  test('http-terminator', async () => {
    const server = await web({}, slowly)
    const terminator = createHttpTerminator({ server, gracefulTerminationTimeout: 60_000 })
    const { received } = await crowd(server)
    await terminator.terminate()
    expect(`${await received}`).toMatch(/connection: close[\s\S]*hello$/i)
    await empty(server)
  })

  test('stoppable', async () => {
    const server = await web({}, slowly)
    const { stop } = stoppable(server, 60_000)
    const { received } = await crowd(server)
    await new Promise<void>((resolve) => {
      stop.call(server, () => resolve())
    })
    expect(`${await received}`).toMatch(/hello$/)
    await empty(server)
  })

  for (const forceCloseConnections of [undefined, 'idle', true] as const) {
    test(`Fastify, with forceCloseConnections ${forceCloseConnections}`, async () => {
      const fastify = Fastify({
        ...(forceCloseConnections !== undefined && { forceCloseConnections }),
        serverFactory: (handler) => park(http.createServer({ keepAliveTimeout: 600_000 }, handler), { idle: IDLE })
      })
      fastify.get('/', () => 'hello')
      await fastify.listen({ port: 0, host: '127.0.0.1' })
      const server = fastify.server as unknown as Server & Parked
      await silent(server)
      await asleep(server)
      await fastify.close()
      await empty(server)
    })
  }

  // What the adapter of Nest calls, with and without forceCloseConnections.
  for (const force of [false, true]) {
    test(`Nest, with forceCloseConnections ${force}`, async () => {
      const server = await web()
      const opened = new Set<Socket>()
      server.on('connection', (socket: Socket) => {
        opened.add(socket)
        socket.on('close', () => opened.delete(socket))
      })
      await silent(server)
      await asleep(server)
      if (force) for (const socket of opened) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
      await empty(server)
    })
  }
})

describe('shutdown()', () => {
  test('answers the accept queue, requests under way, and requests that come', async () => {
    const answers: (() => void)[] = []
    const server = await web({}, (_, response) => void answers.push(() => response.end('hello')))
    const address = addressOf(server)
    const slept = await client(address)
    slept.write(GET)
    await until(() => answers.length === 1)
    answers.shift()?.()
    await response(slept)
    await until(() => server.stats().parked === 1)
    const working = await client(address)
    working.write(GET)
    await until(() => answers.length === 1)
    const queued = queue(address, 5)
    const done = server.shutdown({ grace: '60s' })
    await expect(client(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    slept.write(GET)
    await until(() => answers.length === 7)
    for (const answer of answers) answer()
    for (const socket of [slept, working, ...queued]) {
      expect(`${await readAll(socket)}`).toMatch(/connection: close[\s\S]*hello$/i)
      socket.end()
    }
    expect(await done).toEqual({ drained: 5, finished: 7, idle: 0, cut: 0, ms: expect.any(Number) })
  })

  test('closes what is left when the grace is over', async () => {
    let working = false
    const server = await web({}, (request, response) => {
      if (request.url === '/') response.end('hello')
      else if (request.url === '/never') working = true
      else if (request.url === '/stream') {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        server.stream(response)
      }
    })
    const address = addressOf(server)
    const [fresh] = await silent(server, 1)
    const slept = await asleep(server)
    const [stream, never] = [await client(address), await client(address)]
    stream.write(GET.replace('/', '/stream'))
    never.write(GET.replace('/', '/never'))
    await until(() => working && server.stats().parked === 3)
    const report = await server.shutdown({ grace: 50 })
    expect(report).toMatchObject({ drained: 0, finished: 0, idle: 2, cut: 2 })
    expect(report.ms).toBeGreaterThanOrEqual(49)
    await Promise.all([fresh as Socket, slept, stream, never].map((socket) => gone(socket.resume())))
    await empty(server)
  })

  test('ends the grace at a signal, and closes at once without one', async () => {
    const server = await web()
    await asleep(server)
    const abort = new AbortController()
    const done = server.shutdown({ grace: '1h', signal: abort.signal })
    abort.abort()
    expect(await done).toMatchObject({ finished: 0, idle: 1, cut: 0 })
    await listening(server)
    await asleep(server)
    expect(await server.shutdown({ grace: 0 })).toMatchObject({ idle: 1 })
    await listening(server)
    await asleep(server)
    expect(await server.shutdown({ grace: '1h', signal: AbortSignal.abort() })).toMatchObject({ idle: 1 })
  })

  test('closes the connection after a response whose head is already sent', async () => {
    let end = (): void => {}
    const server = await web({}, (_, response) => {
      response.write('hel')
      end = () => response.end('lo')
    })
    const socket = await client(addressOf(server))
    socket.write(GET)
    await readExactly(socket, 10)
    const done = server.shutdown({ grace: '60s' })
    end()
    expect(`${await readAll(socket)}`).toMatch(/hel\r\n[\s\S]*lo\r\n0\r\n\r\n$/)
    socket.end()
    expect(await done).toMatchObject({ finished: 1 })
  })

  test('is idempotent, and needs no server that listens', async () => {
    const server = await web()
    const slept = await asleep(server)
    const listeners = server.listenerCount('request')
    const done = server.shutdown({ grace: '60s' })
    expect(server.shutdown({ grace: 1 })).toBe(done)
    slept.end()
    expect(await done).toMatchObject({ finished: 1, idle: 0 })
    expect(server.listenerCount('request')).toBe(listeners)
    const nothing: Partial<ShutdownReport> = { drained: 0, finished: 0, idle: 0, cut: 0 }
    expect(await server.shutdown()).toMatchObject(nothing)
    expect(await park(http.createServer()).shutdown()).toMatchObject(nothing)
  })

  test('goes on after close(), which has kept a response', async () => {
    let requests = 0
    const server = await web({}, () => {
      requests++
    })
    const socket = await client(addressOf(server))
    socket.write(GET)
    await until(() => requests === 1)
    const closed = once(server, 'close')
    server.close()
    expect(await server.shutdown({ grace: 10 })).toMatchObject({ cut: 1 })
    await closed
  })

  test('of HTTP/2 ends sessions after their streams', async () => {
    let answer: (() => void) | undefined
    const server = await listening(
      park(
        http2.createServer((_, response) => {
          answer = () => void response.end('hello')
        })
      )
    )
    const session = http2.connect(`http://127.0.0.1:${addressOf(server).port}`)
    onTestFinished(() => session.destroy())
    const stream = session.request({ ':path': '/' }).setEncoding('utf8')
    let text = ''
    stream.on('data', (part: string) => {
      text += part
    })
    await until(() => answer !== undefined)
    const done = server.shutdown({ grace: '60s' })
    answer?.()
    await once(stream, 'end')
    expect(text).toBe('hello')
    expect(await done).toMatchObject({ finished: 1, cut: 0 })
  })

  test('of a net server serves those that speak, in either direction first', async () => {
    for (const first of ['client', 'server'] as const) {
      const server = await listening(
        createServer({ idle: false, first }, (socket) => {
          socket.on('error', () => {})
          if (first === 'server') socket.write('welcome')
          socket.on('data', (bytes) => socket.end(bytes))
        })
      )
      const queued = queue(addressOf(server), 3, 'hello')
      const done = server.shutdown({ grace: '60s' })
      for (const socket of queued) {
        expect(`${await readAll(socket)}`).toBe(first === 'server' ? 'welcomehello' : 'hello')
        socket.end()
      }
      expect(await done).toMatchObject({ drained: 3, finished: 3 })
    }
  })

  test('of a Unix socket takes its queue', async () => {
    const path = join(directory(), 'socket')
    const server = await listening(park(http.createServer((_, response) => response.end('hello'))), path)
    const queued = queue({ path }, 3)
    const done = server.shutdown({ grace: '60s' })
    await listening(park(http.createServer()), path)
    for (const socket of queued) expect(`${await readAll(socket)}`).toMatch(/hello$/)
    for (const socket of queued) socket.end()
    expect(await done).toMatchObject({ drained: 3, finished: 3 })
    // The file of the next server is still there.
    await client({ path })
  })

  test('of listen() takes the queue, and closes what is left', async () => {
    const listener = listen({ port: 0 }, { data: (connection, bytes) => connection.end(bytes) })
    const left = await client(listener.address)
    await until(() => listener.clients === 1)
    const queued = queue(listener.address as { address: string; port: number }, 3, 'hello')
    const done = listener.shutdown({ grace: 50 })
    expect(listener.shutdown()).toBe(done)
    for (const socket of queued) {
      expect(`${await readAll(socket)}`).toBe('hello')
      socket.end()
    }
    expect(await done).toMatchObject({ drained: 3, finished: 3, idle: 0, cut: 1 })
    await gone(left.resume())
  })

  test('refuses options that are not valid, and goes on', async () => {
    const server = await web()
    const listener = listen({ port: 0 })
    onTestFinished(() => void listener.close())
    for (const target of [server, listener]) {
      for (const options of [{ grace: -1 }, { grace: 'soon' }, { signal: {} }, null, 5]) {
        expect(() => target.shutdown(options as { grace: number })).toThrow(
          expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' })
        )
      }
    }
    expect([server.listening, listener.accepting]).toEqual([true, true])
  })
})

describe('a worker that leaves its cluster loses nobody in its queue', () => {
  const source = (port: number, reusePort: boolean): string => `
    import cluster from 'node:cluster'
    import http from 'node:http'
    import { createInterface } from 'node:readline'
    import { park } from ${JSON.stringify(import.meta.resolve('ebb'))}
    if (cluster.isPrimary) {
      const workers = [cluster.fork(), cluster.fork()]
      cluster.on('message', (worker, message) => console.log(JSON.stringify(message)))
      cluster.on('exit', (worker, code) => console.log(JSON.stringify({ exit: worker.id, code })))
      createInterface(process.stdin).on('line', (line) => {
        if (line === 'primary') workers[0].disconnect()
        else if (line === 'SIGTERM') workers[0].process.kill('SIGTERM')
        else workers[0].send(line)
      })
      process.stdin.on('end', () => process.exit())
    } else {
      const server = park(http.createServer((request, response) => response.end(String(cluster.worker.id))))
      server.listen({ port: ${port}, host: '127.0.0.1', reusePort: ${reusePort} }, () => process.send('listening'))
      // As in Node, disconnect() does not close a server that listens on a socket of its own.
      process.on('disconnect', () => server.close())
      process.on('SIGTERM', () => server.close(() => process.exit()))
      process.on('message', (message) => {
        if (message === 'worker') cluster.worker.disconnect()
        if (message !== 'busy') return
        // Keeps the worker from accepting while the test connects.
        process.send('busy')
        const end = Date.now() + 500
        while (Date.now() < end) {}
      })
    }`

  for (const way of ['worker', 'primary', 'SIGTERM']) {
    for (const reusePort of [true, false]) {
      test(`by ${way}, reusePort ${reusePort}`, async () => {
        const port = await freePort()
        const file = join(directory(), 'cluster.mjs')
        writeFileSync(file, source(port, reusePort))
        const child = new Child(`process.argv[1] = ${JSON.stringify(file)}; await import(${JSON.stringify(file)})`)
        await child.next()
        await child.next()
        await child.ask('busy')
        child.tell(way)
        const address = { address: '127.0.0.1', family: 'IPv4', port } as const
        const sockets = await Promise.all(Array.from({ length: 40 }, () => client(address)))
        for (const socket of sockets) socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        const answers = await Promise.all(sockets.map(readAll))
        const by = answers.map((answer) => /[12]$/.exec(`${answer}`)?.[0])
        // The kernel has given connections to both. Without `reusePort`, the primary gives them to whoever takes them.
        if (reusePort) expect(new Set(by)).toEqual(new Set(['1', '2']))
        else expect(by).not.toContain(undefined)
        expect(await child.next()).toEqual({ exit: 1, code: 0 })
      })
    }
  }
})
