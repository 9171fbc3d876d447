/** `listen()` of a parked HTTP server, in every form, with its events and errors: the same as with plain Node. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net, { type AddressInfo, type ListenOptions, type Server, type Socket } from 'node:net'
import { basename, join } from 'node:path'
import { park } from 'ebb'
import { openSocket } from 'ebb/testing'
import { expect, onTestFinished, test } from 'vitest'
import { program, ROOT } from '../support/cli.js'
import { Client, IDLE, pause, silence } from '../support/parity.js'
import { alive } from '../support/processes.js'
import { descriptors, directory, freePort, gone, target, until } from '../support/sockets.js'

type Listening = http.Server & { said: unknown[] }

/**
 * Plain Node and the parked server must report the same. They run one after the other, because both may use one
 * address.
 */
function alike(name: string, scenario: (make: () => Listening, parked: boolean) => Promise<unknown>): void {
  test(name, async () => {
    // Opened once, and never closed.
    await play(true, async (make) => {
      await listen(make(), [0])
    })
    const before = descriptors()
    const plain = await play(false, scenario)
    const parked = await play(true, scenario)
    expect(parked).toEqual(plain)
    await until(() => descriptors() <= before)
    expect(descriptors()).toBe(before)
  })
}

async function play(
  parked: boolean,
  scenario: (make: () => Listening, parked: boolean) => Promise<unknown>
): Promise<unknown> {
  const servers: Listening[] = []
  const make = (): Listening => {
    const server = http.createServer((request, response) => {
      const { remoteAddress, remoteFamily, localAddress } = request.socket
      response.end(`[${request.url} ${remoteAddress} ${remoteFamily} ${localAddress}]`)
    })
    const said: unknown[] = []
    for (const event of ['listening', 'close']) server.on(event, () => said.push(event))
    if (parked) park(server, { idle: IDLE })
    servers.push(Object.assign(server, { said }))
    return servers.at(-1) as Listening
  }
  try {
    return await scenario(make, parked)
  } finally {
    for (const { socket } of clients.splice(0)) socket.destroy()
    for (const server of servers) {
      server.closeAllConnections()
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    }
  }
}

type Arguments = unknown[]

/** Resolves when the server listens, and rejects with its error. */
function listen(server: Server, args: Arguments): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      resolve()
    })
    server.listen(...(args as [number]))
  })
}

/** The servers of one run. */
const clients: Client[] = []

async function connect(where: net.NetConnectOpts): Promise<Client> {
  const client = new Client(net.connect({ ...where, allowHalfOpen: true }))
  clients.push(client)
  onTestFinished(() => {
    client.socket.destroy()
  })
  await client.connected
  return client
}

/** The address that clients of a server connect to. */
function place(server: Server): net.NetConnectOpts {
  const address = server.address() as AddressInfo | string
  if (typeof address === 'string') return { path: address }
  return { port: address.port, host: address.family === 'IPv6' ? '::1' : '127.0.0.1' }
}

/** The address, without the port that the kernel chose. */
function addressOf(server: Server): unknown {
  const address = server.address()
  return address === null || typeof address === 'string' ? address : { ...address, port: Math.sign(address.port) }
}

const FORMS: [string, (path: string) => Arguments][] = [
  ['listen()', () => []],
  ['listen(callback)', () => [() => {}]],
  ['listen(null)', () => [null]],
  ['listen(undefined)', () => [undefined]],
  ['listen(0)', () => [0]],
  ["listen('0')", () => ['0']],
  ['listen(0, callback)', () => [0, () => {}]],
  ['listen(0, backlog)', () => [0, 5]],
  ['listen(0, backlog, callback)', () => [0, 5, () => {}]],
  ['listen(0, host)', () => [0, '127.0.0.1']],
  ['listen(0, host, callback)', () => [0, '127.0.0.1', () => {}]],
  ['listen(0, host, backlog)', () => [0, '127.0.0.1', 7]],
  ['listen(0, host, backlog, callback)', () => [0, '127.0.0.1', 7, () => {}]],
  ["listen(0, 'localhost')", () => [0, 'localhost']],
  ['listen(0, undefined)', () => [0, undefined]],
  ["listen(0, '')", () => [0, '']],
  ["listen(0, '0.0.0.0')", () => [0, '0.0.0.0']],
  ["listen(0, '::')", () => [0, '::']],
  ["listen(0, '::1')", () => [0, '::1']],
  ['listen({ port: 0 })', () => [{ port: 0 }]],
  ['listen({ port: null })', () => [{ port: null }]],
  ['listen({ port: undefined })', () => [{ port: undefined }]],
  ["listen({ port: '0', host })", () => [{ port: '0', host: '127.0.0.1' }]],
  ['listen({ port, host, backlog })', () => [{ port: 0, host: '127.0.0.1', backlog: 3 }]],
  ['listen({ port, host, exclusive })', () => [{ port: 0, host: '127.0.0.1', exclusive: true }]],
  ['listen({ port, ipv6Only })', () => [{ port: 0, host: '::', ipv6Only: true }]],
  ['listen(path)', (path) => [path]],
  ['listen(path, backlog, callback)', (path) => [path, 5, () => {}]],
  ['listen({ path })', (path) => [{ path }]],
  ['listen({ path, backlog })', (path) => [{ path, backlog: 9 }]],
  ['listen({ path, readableAll })', (path) => [{ path, readableAll: true }]],
  ['listen({ path, writableAll })', (path) => [{ path, writableAll: true }]],
  ['listen({ path, readableAll, writableAll })', (path) => [{ path, readableAll: true, writableAll: true }]],
  ['listen({ path }), abstract', (path) => [{ path: `\0${path}` }]]
]

for (const [name, form] of FORMS) {
  alike(name, async (make) => {
    const path = join(directory(), 'socket')
    const server = make()
    const args = form(path)
    const last = args.at(-1)
    if (typeof last === 'function') args[args.length - 1] = () => server.said.push('called')
    expect(server.listen(...(args as [number]))).toBe(server)
    // Before 'listening': the address is known if no name is looked up.
    server.said.push(server.listening, addressOf(server))
    if (!server.said.includes('listening')) await new Promise((resolve) => server.once('listening', resolve))
    server.said.push(server.listening, addressOf(server))
    if (existsSync(path)) server.said.push((statSync(path).mode & 0o777).toString(8))
    const client = await connect(place(server))
    server.said.push((await client.get('/1')).body)
    await silence()
    server.said.push((await client.get('/2')).body)
    await silence()
    await new Promise((resolve) => server.close(resolve))
    server.said.push(await client.over(), server.listening, addressOf(server), existsSync(path))
    return server.said.map((said) => (typeof said === 'string' ? said.replace(path, '') : withoutPath(said, path)))
  })
}

function withoutPath(said: unknown, path: string): unknown {
  return typeof said === 'string' ? said.replaceAll(path, 'PATH') : said
}

alike('a port of its own', async (make) => {
  const port = await freePort()
  const server = make()
  await listen(server, [port, '127.0.0.1'])
  expect((server.address() as AddressInfo).port).toBe(port)
  await new Promise((resolve) => server.close(resolve))
  // Immediately again: connections in TIME_WAIT must not prevent it.
  await listen(server, [port, '127.0.0.1'])
  const client = await connect({ port, host: '127.0.0.1' })
  return (await client.get('/')).body
})

alike('ipv6Only refuses IPv4; without it, both come', async (make) => {
  const said: unknown[] = []
  for (const ipv6Only of [true, false]) {
    const server = make()
    await listen(server, [{ port: 0, host: '::', ipv6Only }])
    const { port } = server.address() as AddressInfo
    for (const host of ['::1', '127.0.0.1']) {
      try {
        const client = await connect({ port, host })
        for (let i = 0; i < 2; i++) {
          said.push((await client.get('/')).body)
          await silence()
        }
      } catch (error) {
        said.push((error as NodeJS.ErrnoException).code)
      }
    }
  }
  expect(said).toContain('ECONNREFUSED')
  return said
})

const MISTAKES: [string, (taken: number, path: string, file: number) => Arguments][] = [
  ['a port in use', (port) => [port]],
  ['a port in use, with a host', (port) => [port, '127.0.0.1']],
  ['a port in use, with a name', (port) => [port, 'localhost']],
  ['a port in use, exclusive', (port) => [{ port, host: '127.0.0.1', exclusive: true }]],
  ['a path in use', (_, path) => [path]],
  ['a path in use, in options', (_, path) => [{ path, readableAll: true }]],
  ['a path in a directory that does not exist', (_, path) => [`${path}/no/socket`]],
  ['an address of another machine', () => [0, '192.0.2.1']],
  ['an address of another machine, with a port', (port) => [port, '192.0.2.1']],
  ['a name that does not exist', () => [0, 'no-such-name.invalid']],
  ['a descriptor that is not open', () => [{ fd: 9999 }]],
  ['a descriptor of a file', (_, __, fd) => [{ fd }]],
  ['a port out of range', () => [70_000]],
  ['a negative port', () => [-1]],
  ['a port out of range, in options', () => [{ port: -1 }]],
  ['no port and no path', () => [{}]],
  ['a host alone', () => [{ host: '127.0.0.1' }]],
  ['a boolean', () => [true]],
  ['a signal of the wrong type', () => [{ port: 0, signal: 1 }]],
  ['readableAll of an abstract path', () => [{ path: '\0ebb', readableAll: true }]]
]

for (const [name, mistake] of MISTAKES) {
  alike(`errors: ${name}`, async (make) => {
    const path = join(directory(), 'socket')
    const [taken, takenPath] = [net.createServer(), net.createServer()]
    await listen(taken, [0, '127.0.0.1'])
    await listen(takenPath, [path])
    const { port } = taken.address() as AddressInfo
    const file = openSync('/dev/null', 'r')
    try {
      const server = make()
      const said: unknown[] = [await failure(server, mistake(port, path, file))]
      said.push(server.listening, existsSync(path))
      // After an error, the server can still listen elsewhere.
      await listen(server, [0, '127.0.0.1'])
      said.push((await (await connect(place(server))).get('/')).body, server.said)
      return JSON.stringify(said, null, 1).replaceAll(String(port), 'PORT').replaceAll(path, 'PATH')
    } finally {
      closeSync(file)
      await new Promise((resolve) => taken.close(resolve))
      await new Promise((resolve) => takenPath.close(resolve))
    }
  })
}

/** The error of `listen()`, thrown or emitted. */
async function failure(server: Server, args: Arguments): Promise<unknown> {
  const how = { thrown: true }
  try {
    const listening = listen(server, args)
    // If listen() throws, this rejects at once.
    listening.then(
      () => {},
      () => {}
    )
    await new Promise((resolve) => process.nextTick(resolve))
    how.thrown = false
    await listening
    return 'none'
  } catch (error) {
    server.removeAllListeners('error')
    const { name, message, code, errno, syscall, address, port } = error as NodeJS.ErrnoException & net.AddressInfo
    return { name, message, code, errno, syscall, address, port }
  }
}

alike('errors: listening already', async (make) => {
  const server = make()
  await listen(server, [0, '127.0.0.1'])
  const said: unknown[] = []
  for (const args of [[0], [{ path: join(directory(), 'socket') }], [{ fd: 0 }]]) {
    try {
      server.listen(...(args as [number]))
    } catch (error) {
      said.push((error as NodeJS.ErrnoException).code)
    }
  }
  said.push((await (await connect(place(server))).get('/')).body)
  return said
})

alike('errors: two servers for one port, one after the other', async (make) => {
  const [first, second] = [make(), make()]
  await listen(first, [0, '127.0.0.1'])
  const { port } = first.address() as AddressInfo
  const [error] = [(await failure(second, [port, '127.0.0.1'])) as { code: string }]
  await new Promise((resolve) => first.close(resolve))
  await listen(second, [port, '127.0.0.1'])
  return [error.code, (await (await connect({ port, host: '127.0.0.1' })).get('/')).body]
})

alike('errors: two servers for one path', async (make) => {
  const path = join(directory(), 'socket')
  const [first, second] = [make(), make()]
  await listen(first, [path])
  const error = (await failure(second, [path])) as { code: string }
  // The file of the first server still exists, and still belongs to it.
  const body = (await (await connect({ path })).get('/')).body
  await new Promise((resolve) => first.close(resolve))
  return [error.code, body, existsSync(path)]
})

test.each(['127.0.0.1', undefined])('errors without a listener, at %s', async (host) => {
  const taken = net.createServer()
  await listen(taken, [0, host])
  onTestFinished(() => {
    taken.close()
  })
  const { port } = taken.address() as AddressInfo
  const [plain, parked] = await Promise.all([false, true].map((parked) => die(parked, port, host)))
  expect(parked).toEqual(plain)
  expect(plain?.code).toBe(1)
})

async function die(parked: boolean, port: number, host: string | undefined): Promise<{ code: unknown; said: unknown }> {
  const child = serving(parked, `server.listen(${port}, ${JSON.stringify(host)})`)
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  return {
    code,
    said: stderr.split('\n').filter((line) => /^Error|^ *(errno|code|syscall|address|port):|Emitted/.test(line))
  }
}

alike('signal: aborted before, and while it listens', async (make) => {
  const said: unknown[] = []
  for (const args of [{ port: 0 }, { port: 0, host: '127.0.0.1' }, { path: join(directory(), 'socket') }]) {
    const before = make()
    before.listen({ ...args, signal: AbortSignal.abort() })
    await silence()
    said.push(before.said, before.listening)
    const controller = new AbortController()
    const server = make()
    await listen(server, [{ ...args, signal: controller.signal }])
    const client = await connect(place(server))
    await client.get('/')
    await silence()
    controller.abort()
    await client.over()
    await until(() => server.said.includes('close'))
    const address = addressOf(server)
    said.push(server.said, server.listening, typeof address === 'string' ? basename(address) : address)
    if ('path' in args) said.push(existsSync(args.path as string))
  }
  return said
})

alike('signal: aborted after it was closed, and while it listens anew', async (make) => {
  const controller = new AbortController()
  const server = make()
  await listen(server, [{ port: 0, host: '127.0.0.1', signal: controller.signal }])
  await new Promise((resolve) => server.close(resolve))
  await listen(server, [0, '127.0.0.1'])
  controller.abort()
  await silence()
  return [server.listening, server.said]
})

alike('close() before it listens', async (make) => {
  const said: unknown[] = []
  for (const args of [[0], [0, '127.0.0.1'], [0, 'localhost'], [join(directory(), 'socket')]]) {
    const server = make()
    server.listen(...(args as [number]))
    const [path] = args
    server.close((error) => server.said.push('closed', (error as NodeJS.ErrnoException | undefined)?.code))
    server.said.push(server.listening)
    await silence()
    said.push(args.length, server.said, server.listening, existsSync(String(path)))
  }
  return said
})

alike('listen() in the listener of close, ten times', async (make) => {
  const server = make()
  let rounds = 0
  await new Promise<void>((resolve) => {
    server.on('listening', () => server.close())
    server.on('close', () => {
      if (++rounds === 10) resolve()
      else server.listen(0, '127.0.0.1')
    })
    server.listen(0, '127.0.0.1')
  })
  return server.said
})

alike('the handle of another server', async (make) => {
  const bound = net.createServer()
  await listen(bound, [0, '127.0.0.1'])
  const { port } = bound.address() as AddressInfo
  const server = make()
  const { _handle: handle } = bound as unknown as { _handle: unknown }
  await listen(server, [handle])
  const body = (await (await connect({ port, host: '127.0.0.1' })).get('/')).body
  await new Promise((resolve) => server.close(resolve))
  Object.assign(bound, { _handle: null })
  return [body, server.said]
})

test('reusePort: two servers share a port', async () => {
  const servers = [0, 1].map((id) =>
    park(
      http.createServer((_, response) => response.end(`${id}`)),
      { idle: IDLE }
    )
  )
  onTestFinished(() => {
    for (const server of servers) {
      server.closeAllConnections()
      server.close()
    }
  })
  const port = await freePort()
  for (const server of servers) await listen(server, [{ port, host: '127.0.0.1', reusePort: true } as ListenOptions])
  const told = new Set<string>()
  for (let i = 0; i < 60; i++) told.add((await (await connect({ port, host: '127.0.0.1' })).get('/')).body)
  expect([...told].sort()).toEqual(['0', '1'])
})

/** A Node process that runs `source` with `server`, plain or parked. */
function serving(parked: boolean, source: string, stdio: (number | 'pipe' | 'ignore')[] = []): ChildProcess {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', prelude(parked) + source], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe', ...stdio]
  })
  onTestFinished(() => {
    if (child.pid !== undefined && alive(child.pid)) child.kill('SIGKILL')
  })
  return child
}

function prelude(parked: boolean): string {
  return `
    import http from 'node:http'
    ${parked ? "import { park } from 'ebb'" : 'const park = (server) => server'}
    const server = http.createServer((request, response) => response.end('[' + request.url + ']'))
    park(server, { idle: ${IDLE} })
  `
}

for (const where of ['port', 'path'] as const) {
  test(`an inherited descriptor, as from systemd (${where})`, async () => {
    const path = join(directory(), 'socket')
    const [plain, parked] = [await inherit(false), await inherit(true)]
    expect(parked).toEqual(plain)

    async function inherit(parked: boolean): Promise<unknown> {
      const { fd, address } = openSocket(where === 'port' ? { port: 0 } : { path: `${path}${parked}` })
      const at = target(address)
      const child = serving(
        parked,
        `server.listen({ fd: 3 }, () => console.log('listening', JSON.stringify(server.address())))
         process.on('SIGTERM', () => server.close(() => console.log('closed')))`,
        [fd]
      )
      let stdout = ''
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        stdout += text
      })
      await until(() => stdout.includes('listening'))
      const client = await connect(at)
      const bodies = [(await client.get('/1')).body]
      await pause(10 * IDLE)
      bodies.push((await client.get('/2')).body)
      await pause(10 * IDLE)
      child.kill('SIGTERM')
      const code = await new Promise((resolve) => child.on('close', resolve))
      // systemd's own descriptor still listens, so the child must not remove the file of the path.
      const there = existsSync(`${path}${parked}`)
      closeSync(fd)
      const { port } = at as { port?: number }
      return [
        bodies,
        client.ended,
        code,
        stdout.replace(String(port), 'PORT').replaceAll(`${path}${parked}`, 'PATH'),
        there
      ]
    }
  })
}

/** Whether the process ends by itself after each of the client's `steps`. */
const LIVES: [string, string][] = [
  ['unref() before it listens', "server.unref(); server.listen(0, '127.0.0.1', say)"],
  ['unref() while it listens', "server.listen(0, '127.0.0.1', () => { say(); server.unref() })"],
  ['unref() and ref()', "server.listen(0, '127.0.0.1', say); server.unref(); server.ref()"],
  [
    'close() after the requests',
    "server.listen(0, '127.0.0.1', say); server.on('request', (q) => q.url === '/close' && server.close())"
  ],
  [
    'unref() after the requests',
    "server.listen(0, '127.0.0.1', say); server.on('request', (q) => q.url === '/close' && server.unref())"
  ]
]

test.each(LIVES)('when the process ends: %s', async (_, source) => {
  const [plain, parked] = (await Promise.all([false, true].map((parked) => live(parked, source)))) as [Look[], Look[]]
  // close() of a parked server also closes connections that have not sent a byte, as newer versions of Node do. With
  // older ones, plain Node still runs for the silent client.
  const closes = source.includes('server.close()')
  expect(parked).toEqual(plain.map(([when, code]) => [when, closes && when === ONLY_SILENT ? 0 : code]))
})

/** A moment, and the exit code of the process if it has ended. */
type Look = [when: string, code: number | null | undefined]
const ONLY_SILENT = 'with one that is silent'

async function live(parked: boolean, source: string): Promise<Look[]> {
  const child = serving(
    parked,
    `const say = () => console.log(server.address().port)
     ${source}`
  )
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  let stdout = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  let code: number | null | undefined
  void ended.then((value) => {
    code = value
  })
  await until(() => stdout.includes('\n') || code !== undefined)
  const looks: Look[] = []
  const look = async (when: string): Promise<void> => {
    // Time to end on a busy machine.
    await Promise.race([ended, pause(1500)])
    looks.push([when, code])
  }
  await look('alone')
  if (code === undefined) {
    const port = Number(stdout)
    const [silent, parkedOne] = [await connect({ port, host: '127.0.0.1' }), await connect({ port, host: '127.0.0.1' })]
    await parkedOne.get('/1')
    await look('with a silent connection and a parked one')
    // The last response may arrive or not: idle connections are closed in the same turn.
    void parkedOne.send('GET /close HTTP/1.1\r\nHost: x\r\n\r\n')
    await look('closed')
    parkedOne.fin()
    await look(ONLY_SILENT)
    silent.fin()
    await look('with none')
    child.kill('SIGKILL')
  }
  looks.push(['ended', await ended])
  return looks
}

test('when the process ends: open connections keep it running after unref()', async () => {
  const [plain, parked] = await Promise.all([false, true].map((parked) => held(parked)))
  expect(plain).toEqual([true, true, 0])
  expect(parked).toEqual(plain)

  async function held(parked: boolean): Promise<unknown> {
    const { child, silent, other } = await told(parked, 'unref')
    other.fin()
    const said: unknown[] = []
    for (let i = 0; i < 2; i++) {
      await pause(200)
      said.push(alive(child.pid))
    }
    silent.fin()
    return [...said, (await child.ended).code]
  }
})

test('when the process ends: a connection that has not sent a byte does not keep it running after close()', async () => {
  const { child, silent, other } = await told(true, 'close')
  await other.over()
  other.fin()
  expect((await child.ended).code).toBe(0)
  // It has not closed its side by then.
  silent.fin()
})

/** A process with two connections, one of which has sent nothing, that was told to call a method of its server. */
async function told(parked: boolean, method: 'unref' | 'close') {
  const child = await program(`
    ${prelude(parked)}
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))
    process.on('SIGUSR2', () => { server.${method}(); console.log('told') })
  `)
  const silent = await connect({ port: child.port, host: '127.0.0.1' })
  const other = await connect({ port: child.port, host: '127.0.0.1' })
  await other.get('/')
  child.kill('SIGUSR2')
  await child.said(/told/)
  return { child, silent, other }
}

const LIBRARY = JSON.stringify(import.meta.resolve('ebb'))

const CLUSTER = `
  import cluster from 'node:cluster'
  import http from 'node:http'
  import { createInterface } from 'node:readline'
  import { park as parkIt } from ${LIBRARY}
  const [where, parked] = process.argv.slice(2)
  const park = parked === 'true' ? parkIt : (server) => server
  if (cluster.isPrimary) {
    let ready = 0
    cluster.on('listening', (worker, { address, port, addressType, fd }) => {
      console.log('listening', address, port > 0 ? Math.sign(port) : port, addressType, fd)
    })
    cluster.on('message', (worker, port) => {
      console.log('ready', worker.id)
      if (++ready === 2) console.log(port)
    })
    cluster.on('exit', (worker, code, signal) => console.log('exit', worker.id, code, signal, worker.exitedAfterDisconnect))
    cluster.fork()
    cluster.fork()
    createInterface({ input: process.stdin }).on('line', (line) => {
      const [command, id] = line.split(' ')
      if (command === 'fork') cluster.fork()
      if (command === 'kill') cluster.workers[id].process.kill('SIGKILL')
      if (command === 'disconnect') cluster.workers[id].disconnect()
    })
  } else {
    const server = http.createServer((request, response) => {
      if (request.url === '/count') server.getConnections((_, count) => response.end(String(count)))
      else response.end(String(cluster.worker.id))
    })
    park(server, { idle: ${IDLE} }).listen(...JSON.parse(where), () => process.send(server.address().port ?? -1))
  }
`

for (const policy of ['rr', 'none'] as const) {
  for (const where of ['port', 'port 0', 'path', 'host', 'exclusive'] as const) {
    test(`cluster, ${policy}, ${where}`, async () => {
      const plain = await crowd(false)
      const parked = await crowd(true)
      expect(parked).toEqual(plain)

      async function crowd(parked: boolean): Promise<unknown> {
        const home = directory()
        const path = join(home, 'socket')
        const port = await freePort()
        const args = {
          port: [port],
          'port 0': [0],
          path: [path],
          host: [port, '127.0.0.1'],
          exclusive: [{ port: 0, host: '127.0.0.1', exclusive: true }]
        }[where]
        writeFileSync(join(home, 'cluster.mjs'), CLUSTER)
        const child = spawn(process.execPath, [join(home, 'cluster.mjs'), JSON.stringify(args), String(parked)], {
          env: { ...process.env, NODE_CLUSTER_SCHED_POLICY: policy },
          stdio: ['pipe', 'pipe', 'inherit']
        })
        const ended = new Promise((resolve) => child.on('close', resolve))
        onTestFinished(async () => {
          // Workers end with their primary.
          child.kill('SIGKILL')
          await ended
        })
        let stdout = ''
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          stdout += text
        })
        const said: unknown[] = []
        await until(() => /^-?\d+$/m.test(stdout))
        const told = Number(/^-?\d+$/m.exec(stdout)?.[0])
        const at = where === 'path' ? { path } : { port: told, host: '127.0.0.1' }
        const clients: [Client, string][] = []
        for (let i = 0; i < 40; i++) {
          const client = await connect(at)
          clients.push([client, (await client.get('/')).body])
        }
        const workers = new Set(clients.map(([, id]) => id))
        // The kernel chooses how many each worker gets, except with round robin.
        if (policy === 'rr' && where !== 'exclusive') expect([...workers].sort()).toEqual(['1', '2'])
        await pause(10 * IDLE)
        for (const [client, id] of clients) expect((await client.get('/')).body).toBe(id)

        const dead = [...workers][0]
        child.stdin.write(`kill ${dead}\n`)
        await until(() => stdout.includes(`exit ${dead} `))
        for (const [client, id] of clients) if (id === dead) await client.over()
        // New connections go to the remaining worker.
        const left = dead === '1' ? '2' : '1'
        if (where !== 'exclusive') {
          for (let i = 0; i < 10; i++) expect((await (await connect(at)).get('/')).body).toBe(left)
        }
        child.stdin.write('fork\n')
        await until(() => stdout.includes('ready 3'))
        await pause(10 * IDLE)
        // The primary does not know of an exclusive server, which would stay open.
        child.stdin.write(`${where === 'exclusive' ? 'kill' : 'disconnect'} ${left}\n`)
        await until(() => stdout.includes(`exit ${left} `))
        for (const [client, id] of clients) if (id === left) await client.over()
        if (where !== 'exclusive') expect((await (await connect(at)).get('/')).body).toBe('3')
        child.stdin.write('kill 3\n')
        await until(() => stdout.includes('exit 3 '))
        const lines = stdout.split('\n').map((line) => line.replace(path, 'PATH'))
        said.push(lines.filter((line) => line.startsWith('listening')))
        said.push(lines.filter((line) => line.startsWith('exit')).map((line) => line.replace(/exit \d/, 'exit')))
        child.stdin.end()
        return said
      }
    })
  }
}

const THREAD = `
  const { parentPort, workerData } = require('node:worker_threads')
  const http = require('node:http')
  import(${LIBRARY}).then(({ park }) => {
    const server = http.createServer((request, response) => {
      if (request.url !== '/never') response.end('[' + request.url + ']')
    })
    if (workerData) park(server, { idle: ${IDLE} })
    server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
    parentPort.once('message', () => {
      server.close()
      server.closeAllConnections()
    })
  })
`

test.each(['ends', 'terminate'])('a worker thread serves, and ends: %s', async (how) => {
  const [plain, parked] = [await thread(false), await thread(true)]
  expect(parked).toEqual(plain)

  async function thread(parked: boolean): Promise<unknown> {
    const child = await program(`
      import { Worker } from 'node:worker_threads'
      import { readdirSync } from 'node:fs'
      const descriptors = () => readdirSync('/proc/self/fd').length
      let before
      const start = () => {
        const worker = new Worker(${JSON.stringify(THREAD)}, { eval: true, execArgv: [], workerData: ${parked} })
        worker.on('message', (port) => console.log(port))
        worker.on('error', (error) => console.log('error', error.message))
        worker.on('exit', (code) => setTimeout(() => {
          // The first thread may open descriptors that the process keeps.
          console.log('over', code, before === undefined ? '' : descriptors() - before)
          before ??= descriptors()
          start()
        }, 100))
        process.once('SIGUSR2', () => ${how === 'ends' ? "worker.postMessage('')" : 'worker.terminate()'})
      }
      start()
    `)
    const said: unknown[] = []
    for (let round = 0; round < 3; round++) {
      const [, port] = await child.said(/^(\d+)\n$/m)
      child.stdout = ''
      const clients: Client[] = []
      for (let i = 0; i < 30; i++) {
        const client = await connect({ port: Number(port), host: '127.0.0.1' })
        clients.push(client)
        // One third is silent, one third is parked, one third waits.
        if (i % 3 > 0) await client.get('/1')
      }
      await pause(10 * IDLE)
      for (const [i, client] of clients.entries())
        if (i % 3 === 2) void client.send('GET /never HTTP/1.1\r\nHost: x\r\n\r\n')
      await pause(100)
      child.kill('SIGUSR2')
      const [line] = await child.said(/over .*\n/)
      await Promise.race([Promise.all(clients.map((client) => client.over())), pause(2000)])
      said.push(line, clients.filter(({ ended }) => ended !== undefined).length)
      await until(() => /^\d+\n/m.test(child.stdout))
      child.stdout = child.stdout.slice(child.stdout.indexOf(line) + line.length)
    }
    return said
  }
})

test('a thousand servers, one after the other, leave no memory or descriptor behind', async () => {
  const once = async (): Promise<void> => {
    const server = park(http.createServer((_, response) => response.end()))
    await listen(server, [0, '127.0.0.1'])
    const socket: Socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
    await new Promise((resolve) => socket.once('connect', resolve))
    server.closeAllConnections()
    server.close()
    socket.destroy()
    await gone(socket)
    await new Promise((resolve) => (server.listening ? server.once('close', resolve) : setImmediate(resolve)))
  }
  await once()
  const before = descriptors()
  for (let i = 0; i < 1000; i++) await once()
  await until(() => descriptors() <= before)
  expect(descriptors()).toBe(before)
})
