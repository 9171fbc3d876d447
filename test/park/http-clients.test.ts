/** Real clients, with keep-alive, against a parked server in its own process. */
import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { type Cli, program } from '../support/cli.js'
import { pause } from '../support/parity.js'
import { directory } from '../support/sockets.js'

const run = promisify(execFile)
const IDLE = 100

interface Server extends Cli {
  port: number
  stats(): Promise<{ parked: number; awake: number; accepted: number; woken: number; parkedAgain: number }>
  /** Waits until the server has exactly `count` connections, all parked. */
  untilParked(count?: number): Promise<void>
}

/** Responds with the path; to `/hash` with the hash of the body; to `/large` with a megabyte. */
async function serve(options = `{ idle: ${IDLE} }`): Promise<Server> {
  const child = await program(`
    import http from 'node:http'
    import { createHash } from 'node:crypto'
    import { park } from 'ebb'
    const large = Buffer.alloc(1_000_000, 'x')
    const server = park(http.createServer((request, response) => {
      if (request.url === '/hash') {
        const hash = createHash('sha1')
        request.on('data', (chunk) => hash.update(chunk)).on('end', () => response.end(hash.digest('hex')))
        return
      }
      const body = request.url === '/large' ? large : '[' + request.url + ']'
      // With a length, a connection of HTTP/1.0 can be kept alive.
      response.setHeader('Content-Length', body.length)
      response.end(body)
    }), ${options})
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))
    process.on('SIGUSR2', () => console.log(JSON.stringify(server.stats())))
  `)
  const stats: Server['stats'] = async () => {
    child.stdout = ''
    child.kill('SIGUSR2')
    const [line] = await child.said(/^\{.*\}$/m)
    return JSON.parse(line)
  }
  const untilParked: Server['untilParked'] = async (count) => {
    for (;;) {
      const { awake, parked } = await stats()
      if (awake === 0 && (count === undefined || parked === count)) return
      await pause(20)
    }
  }
  return Object.assign(child, { stats, untilParked })
}

function has(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test('fetch (undici): requests at the same time and after parking', async () => {
  const server = await serve()
  const get = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`)
    return await response.text()
  }
  for (let round = 0; round < 5; round++) {
    const paths = Array.from({ length: 40 }, (_, i) => `/${round}/${i}`)
    expect(await Promise.all(paths.map(get))).toEqual(paths.map((path) => `[${path}]`))
    for (const path of paths.slice(0, 10)) expect(await get(path)).toBe(`[${path}]`)
    await server.untilParked()
  }
  const { parkedAgain, accepted } = await server.stats()
  expect(parkedAgain).toBeGreaterThanOrEqual(accepted)
  expect((await get('/large')).length).toBe(1_000_000)
})

test('fetch (undici): a body as a stream', async () => {
  const server = await serve()
  const chunks = Array.from({ length: 10 }, (_, i) => Buffer.alloc(10_000 * i, String(i)))
  const hash = createHash('sha1').update(Buffer.concat(chunks)).digest('hex')
  for (let round = 0; round < 3; round++) {
    const body = new ReadableStream({
      async start(controller) {
        for (const chunk of chunks) {
          if (chunk.length > 0) controller.enqueue(new Uint8Array(chunk))
          // Longer than the server's idle timeout.
          if (chunk.length === 50_000) await pause(3 * IDLE)
        }
        controller.close()
      }
    })
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    const response = await fetch(`http://127.0.0.1:${server.port}/hash`, init)
    expect(await response.text()).toBe(hash)
    await server.untilParked()
  }
})

test('http.Agent: its sockets are used again after parking', async () => {
  const server = await serve()
  const agent = new http.Agent({ keepAlive: true, maxSockets: 5 })
  onTestFinished(() => agent.destroy())
  const get = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const request = http.get({ port: server.port, path, agent }, (response) => {
        let text = ''
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve(text))
      })
      request.on('error', reject)
    })
  for (let round = 0; round < 4; round++) {
    const paths = Array.from({ length: 50 }, (_, i) => `/${round}/${i}`)
    expect(await Promise.all(paths.map(get))).toEqual(paths.map((path) => `[${path}]`))
    await server.untilParked(5)
  }
  expect(await server.stats()).toMatchObject({ accepted: 5 })
})

test.skipIf(!has('curl'))('curl: several URLs over one connection, uploads with Expect, a slow download', async () => {
  const server = await serve()
  const at = `http://127.0.0.1:${server.port}`
  // Two requests per second: the connection is parked in between.
  const { stdout, stderr } = await run('curl', ['-sv', '--rate', '2/s', `${at}/1`, `${at}/2`, `${at}/3`])
  expect(stdout).toBe('[/1][/2][/3]')
  expect(stderr.match(/Re-using existing connection/g)).toHaveLength(2)
  expect(await server.stats()).toMatchObject({ accepted: 1, woken: 3, parkedAgain: 2 })

  const file = join(directory(), 'upload')
  const bytes = Buffer.alloc(3_000_000, 'upload')
  writeFileSync(file, bytes)
  const hash = createHash('sha1').update(bytes).digest('hex')
  const uploads = [
    ['-T', file],
    ['-T', file, '-H', 'Expect: 100-continue'],
    ['--data-binary', `@${file}`],
    ['-T', file, '-H', 'Transfer-Encoding: chunked'],
    ['-T', file, '--limit-rate', '6M'],
    ['-T', file, '--http1.0']
  ]
  for (const upload of uploads) expect((await run('curl', ['-s', ...upload, `${at}/hash`])).stdout).toBe(hash)

  const slow = await run('curl', [
    '-s',
    '--limit-rate',
    '1M',
    '-o',
    '/dev/null',
    '-w',
    '%{size_download} %{http_code}',
    `${at}/large`
  ])
  expect(slow.stdout).toBe('1000000 200')
  expect((await run('curl', ['-sI', `${at}/head`])).stdout).toMatch(/^HTTP\/1.1 200 OK\r\nContent-Length: 7\r\n/)
})

test.skipIf(!has('ab'))('ApacheBench: HTTP/1.0, kept alive and not', async () => {
  const server = await serve('{ idle: 10 }')
  const at = `http://127.0.0.1:${server.port}/`
  for (const keepAlive of [[], ['-k']]) {
    const { stdout } = await run('ab', ['-q', ...keepAlive, '-n', '3000', '-c', '60', at])
    expect(stdout).toMatch(/^Complete requests: +3000$/m)
    expect(stdout).toMatch(/^Failed requests: +0$/m)
    expect(stdout).not.toMatch(/Non-2xx/)
    if (keepAlive.length > 0) expect(stdout).toMatch(/^Keep-Alive requests: +3000$/m)
  }
  await server.untilParked(0)
})

test('autocannon: pipelining, and many connections that are parked between their requests', async () => {
  // In a variable, because the module has no types.
  const name = 'autocannon'
  const { default: load } = (await import(name)) as { default: (options: object) => Promise<Record<string, number>> }
  const server = await serve('{ idle: 20 }')
  const url = `http://127.0.0.1:${server.port}/`
  const well = { errors: 0, timeouts: 0, mismatches: 0, non2xx: 0 }
  expect(await load({ url, connections: 50, amount: 20_000 })).toMatchObject({ ...well, '2xx': 20_000 })
  // It stops counting before its last pipelined responses have arrived.
  expect(await load({ url, connections: 20, amount: 20_000, pipelining: 10 })).toMatchObject(well)
  // Ten requests per second for each connection, in bursts.
  const before = await server.stats()
  const slowly = { connections: 100, amount: 2000, connectionRate: 10 }
  expect(await load({ url, ...slowly })).toMatchObject({ ...well, '2xx': 2000 })
  expect((await server.stats()).parkedAgain - before.parkedAgain).toBeGreaterThan(100)
  await server.untilParked(0)
})

test('2,000 clients that send a byte a second do not disturb normal requests', async () => {
  const server = await serve()
  const crowd: { socket: Socket; received: string }[] = []
  onTestFinished(() => {
    for (const { socket } of crowd) socket.destroy()
  })
  const head = 'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'
  await Promise.all(
    Array.from({ length: 2000 }, async () => {
      const socket = net.connect(server.port, '127.0.0.1')
      const slow = { socket, received: '' }
      crowd.push(slow)
      socket.setEncoding('latin1').on('data', (text: string) => {
        slow.received += text
      })
      await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    })
  )
  await server.untilParked(2000)
  let asked = 0
  for (let sent = 0; sent < 5; sent++) {
    const start = performance.now()
    for (const { socket } of crowd) socket.write(head.slice(sent, sent + 1))
    while (performance.now() - start < 1000) {
      const response = await fetch(`http://127.0.0.1:${server.port}/${asked}`)
      expect(await response.text()).toBe(`[/${asked++}]`)
    }
  }
  // All of these connections are awake, because half of a head has arrived.
  expect((await server.stats()).awake).toBeGreaterThanOrEqual(2000)
  expect(crowd.every(({ received }) => received === '')).toBe(true)
  expect(asked).toBeGreaterThan(50)
  for (const { socket } of crowd) socket.write(head.slice(5))
  while (crowd.some(({ received }) => !received.endsWith('[/slow]'))) await pause(20)
  await server.untilParked()
  // Now they behave like any other connection.
  for (const { socket } of crowd) socket.end('GET /again HTTP/1.1\r\nHost: x\r\n\r\n')
  while (crowd.some(({ received }) => !received.endsWith('[/again]'))) await pause(20)
})
