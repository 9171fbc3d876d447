/** The examples: each runs as a process, is used by real clients, and has its connections parked in between. */
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Cli, ROOT } from './support/cli.js'

const run = promisify(execFile)

/** Connections are parked after a second of silence. The limit is long, because the machine may be busy. */
const SOON = { timeout: 30_000, interval: 50 }

/** Debian installs nginx in a directory that may not be in a user's `PATH`. */
const PATH = `${process.env.PATH}:/usr/sbin`
const has = (program: string): boolean =>
  spawnSync('sh', ['-c', `command -v ${program}`], { env: { PATH } }).status === 0

type Example = Cli & { port: number }

/** Starts an example on a port that the kernel chooses, and waits until it listens. */
async function example(name: string, args: string[] = []): Promise<Example> {
  const cli = new Cli([process.execPath, ...args, join(ROOT, 'examples', name)], { env: { PORT: '0' } })
  const [, port] = await cli.said(/^Listening on (?:http:\/\/)?127\.0\.0\.1:(\d+)\n/m)
  return Object.assign(cli, { port: Number(port) })
}

/** Waits until an example has ended by itself, with code 0 and an empty stderr. */
async function ended(cli: Cli): Promise<void> {
  const { code, signal, stderr } = await cli.ended
  expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' })
}

/** Ends an example like a service manager. */
async function ends(cli: Cli, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  cli.kill(signal)
  await ended(cli)
}

interface Where {
  port?: number
  socketPath?: string
}

interface Asking {
  agent?: http.Agent
  method?: string
  body?: string
}

/** Sends a request, on a new connection if no agent is given. */
async function ask(
  { port, socketPath }: Where,
  path: string,
  { agent, method = 'GET', body = '' }: Asking = {}
): Promise<{ status: number | undefined; reused: boolean; body: string }> {
  const headers = body === '' ? {} : { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) }
  const request = http.request({
    agent: agent ?? false,
    method,
    path,
    headers,
    ...(socketPath === undefined ? { host: '127.0.0.1', port } : { socketPath })
  })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return { status: response.statusCode, reused: request.reusedSocket, body: await text(response) }
}

interface Stats {
  parked: number
  awake: number
  accepted: number
  woken: number
  closed: { peer: number }
  subscribers: number
}

async function stats(server: Where): Promise<Stats> {
  return JSON.parse((await ask(server, '/stats')).body) as Stats
}

/** Waits until exactly `parked` connections are parked. The connection of this request is awake. */
function asleep(server: Where, parked: number): Promise<void> {
  return vi.waitFor(async () => expect(await stats(server)).toMatchObject({ parked }), SOON)
}

function agent(maxSockets = 1): http.Agent {
  const made = new http.Agent({ keepAlive: true, maxSockets, maxFreeSockets: maxSockets })
  onTestFinished(() => made.destroy())
  return made
}

/** Waits until nobody listens any longer, so the signal was handled. */
function refused({ port = 0 }: Where): Promise<void> {
  return vi.waitFor(async () => {
    const socket = net.connect(port, '127.0.0.1')
    const error = await once(socket, 'connect').then(
      () => undefined,
      (thrown: NodeJS.ErrnoException) => thrown.code
    )
    socket.destroy()
    expect(error).toBe('ECONNREFUSED')
  }, SOON)
}

/** A person in the chat. */
class Person {
  readonly socket: net.Socket
  heard = ''
  ended = false

  constructor({ port }: { port: number }) {
    this.socket = net.connect(port, '127.0.0.1').setEncoding('utf8').setNoDelay()
    this.socket.on('data', (chunk: string) => {
      this.heard += chunk
    })
    this.socket.on('close', () => {
      this.ended = true
    })
    this.socket.on('error', () => {})
    onTestFinished(() => {
      this.socket.destroy()
    })
  }

  async hears(line: string | RegExp): Promise<void> {
    await vi.waitFor(() => expect(this.heard).toMatch(line), SOON)
  }

  /** Waits until `/who` reports `here` people, of whom `parked` are parked. */
  async sees(here: number, parked: number): Promise<void> {
    await vi.waitFor(async () => {
      const before = this.heard.length
      this.socket.write('/who\n')
      await vi.waitFor(() => expect(this.heard.slice(before)).toMatch(/parked\n/), SOON)
      expect(this.heard.slice(before)).toContain(`* ${here} are here, ${parked} of them parked\n`)
    }, SOON)
  }
}

async function joined(chat: { port: number }, name: string): Promise<Person> {
  const person = new Person(chat)
  person.socket.write(`${name}\n`)
  // The server answers `/who` only after it knows the name.
  await vi.waitFor(async () => {
    person.socket.write('/who\n')
    await person.hears('are here')
  }, SOON)
  person.heard = ''
  return person
}

/** A subscriber, like `EventSource`. */
class Subscriber {
  readonly topic: string
  readonly events: string[] = []
  ended = false
  failure: unknown
  readonly #leaving = new AbortController()
  #rest = ''

  constructor(topic: string) {
    this.topic = topic
    onTestFinished(() => this.leave())
  }

  async subscribe({ port }: { port: number }): Promise<this> {
    const response = await fetch(`http://127.0.0.1:${port}/events?topic=${this.topic}`, {
      signal: this.#leaving.signal
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    void this.#read(response)
    return this
  }

  leave(): void {
    this.#leaving.abort()
  }

  async #read(response: Response): Promise<void> {
    const decoder = new TextDecoder()
    try {
      for await (const chunk of response.body ?? []) {
        const blocks = (this.#rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n\n')
        this.#rest = blocks.pop() ?? ''
        for (const block of blocks) {
          const data = block.split('\n').filter((line) => line.startsWith('data: '))
          if (data.length > 0) this.events.push(data.map((line) => line.slice(6)).join('\n'))
        }
      }
    } catch (error) {
      if (!this.#leaving.signal.aborted) this.failure = error
    } finally {
      this.ended = true
    }
  }
}

function subscribe(server: { port: number }, topic: string, count: number): Promise<Subscriber[]> {
  return Promise.all(Array.from({ length: count }, () => new Subscriber(topic).subscribe(server)))
}

async function publish(server: Where, topic: string, body: string): Promise<number> {
  const answer = await ask(server, `/publish?topic=${topic}`, { method: 'POST', body })
  expect(answer.status).toBe(200)
  return Number(answer.body)
}

/** Waits until each subscriber has received exactly these events, in this order. */
function had(subscribers: Subscriber[], events: string[]): Promise<void> {
  return vi.waitFor(() => {
    for (const { failure, events: own } of subscribers) expect({ failure, events: own }).toEqual({ events })
  }, SOON)
}

describe('chat', () => {
  test('a line may be split over chunks, within a character, and around a parking', async () => {
    const chat = await example('chat.mjs')
    const ann = await joined(chat, 'ann')
    const bob = await joined(chat, 'bob')
    await ann.hears('* bob joined\n')
    ann.socket.write(Buffer.from([0x6e, 0x61, 0xc3]))
    await bob.sees(2, 1)
    ann.socket.write(Buffer.from([0xaf]))
    await bob.sees(2, 1)
    ann.socket.write('ve\nand')
    await bob.hears('ann: naïve\n')
    await bob.sees(2, 1)
    ann.socket.write(' more\none\r\ntwo\n\nthree\n')
    await bob.hears('ann: and more\nann: one\nann: two\nann: three\n')
    bob.socket.write('I heard that\n')
    await ann.hears('bob: I heard that\n')
    // Her own lines would have arrived before this line.
    expect(ann.heard).not.toContain('ann: ')
    await ends(chat)
  })

  test('keeps the name over any number of parkings', async () => {
    const chat = await example('chat.mjs')
    const ann = await joined(chat, 'ann')
    const bob = await joined(chat, 'bob')
    for (let i = 0; i < 3; i++) {
      await bob.sees(2, 1)
      ann.socket.write(`${i}\n`)
      await bob.hears(`ann: ${i}\n`)
    }
    await ends(chat)
  })

  test('silent people receive everything in order', async () => {
    const chat = await example('chat.mjs')
    const crowd = Array.from({ length: 300 }, () => new Person(chat))
    const ann = await joined(chat, 'ann')
    await ann.sees(301, 300)
    ann.socket.write('one\ntwo\nthree\n')
    const all = '* ann joined\nann: one\nann: two\nann: three\n'
    await vi.waitFor(() => {
      for (const person of crowd) expect(person.heard.slice(person.heard.indexOf('* ann joined'))).toBe(all)
    }, SOON)
    // No connection woke to receive it.
    await ann.sees(301, 300)
    await ends(chat)
  })

  test('announces each person who leaves once: parked or awake, with a FIN or a reset', async () => {
    const chat = await example('chat.mjs')
    const bob = await joined(chat, 'bob')
    const parked = await joined(chat, 'parked')
    const reset = await joined(chat, 'reset')
    await new Person(chat).socket.end()
    await bob.sees(3, 2)
    // Neither a parking nor a person without a name is announced.
    expect(bob.heard).not.toContain(' left')
    parked.socket.end()
    await bob.hears('* parked left\n')
    reset.socket.resetAndDestroy()
    await bob.hears('* reset left\n')
    const awake = await joined(chat, 'awake')
    awake.socket.end('bye\n')
    await bob.hears('awake: bye\n* awake left\n')
    const broken = await joined(chat, 'broken')
    broken.socket.resetAndDestroy()
    await bob.hears('* broken left\n')
    await bob.sees(1, 0)
    expect(bob.heard.match(/.* left/g)).toEqual(['* parked left', '* reset left', '* awake left', '* broken left'])
    await ends(chat)
  })

  test.each([
    ['no end', ''],
    ['an end', '\n']
  ])('a line that is too long, with %s, does not fill the memory', async (_, end) => {
    const chat = await example('chat.mjs')
    const ann = await joined(chat, 'ann')
    const bob = await joined(chat, 'bob')
    bob.socket.write('x'.repeat(4000))
    await ann.sees(2, 1)
    bob.socket.write('x'.repeat(100_000) + end)
    await bob.hears(/\* that line is too long\n$/)
    await ann.hears('* bob left\n')
    await ends(chat)
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('%s ends it and tells everybody', async (signal) => {
    const chat = await example('chat.mjs')
    const silent = new Person(chat)
    const ann = await joined(chat, 'ann')
    const bob = await joined(chat, 'bob')
    await bob.sees(3, 2)
    await ends(chat, signal)
    await vi.waitFor(() => {
      for (const person of [ann, bob, silent]) {
        expect(person).toMatchObject({ heard: expect.stringMatching(/\* the chat is over\n$/), ended: true })
      }
    }, SOON)
  })
})

describe.each(['express.mjs', 'fastify.mjs'])('%s', (name) => {
  interface Hello {
    hello: string
    connection: number
    wakes: number
  }

  test('parks a keep-alive connection between requests', async () => {
    const server = await example(name)
    const client = agent()
    const first = await ask(server, '/', { agent: client })
    expect(first).toMatchObject({ status: 200, reused: false })
    const { connection, ...rest } = JSON.parse(first.body) as Hello
    expect(rest).toEqual({ hello: 'world', wakes: 1 })
    for (const wakes of [2, 3]) {
      await asleep(server, 1)
      expect(await ask(server, '/', { agent: client })).toEqual({
        status: 200,
        reused: true,
        body: JSON.stringify({ hello: 'world', connection, wakes })
      })
      // Without a pause, the connection stays awake.
      expect(await ask(server, '/', { agent: client })).toEqual({
        status: 200,
        reused: true,
        body: JSON.stringify({ hello: 'world', connection, wakes })
      })
    }
    await ends(server)
  })

  test('fetch reuses a parked connection', async () => {
    const server = await example(name)
    const get = async (): Promise<Hello> => (await fetch(`http://127.0.0.1:${server.port}/`)).json() as Promise<Hello>
    const { connection } = await get()
    await asleep(server, 1)
    expect(await get()).toEqual({ hello: 'world', connection, wakes: 2 })
    await ends(server)
  })

  test('an upload wakes a parked connection', async () => {
    const server = await example(name)
    const client = agent()
    await ask(server, '/', { agent: client })
    await asleep(server, 1)
    const body = 'ebb and flow '.repeat(40_000)
    const answer = await ask(server, '/echo', { agent: client, method: 'POST', body })
    expect(answer).toMatchObject({ status: 200, reused: true })
    expect(answer.body === body).toBe(true)
    await ends(server)
  })

  test('parks and wakes a crowd, each client on its own connection', async () => {
    const server = await example(name)
    const client = agent(200)
    const all = (): Promise<Hello[]> =>
      Promise.all(
        Array.from({ length: 200 }, async () => JSON.parse((await ask(server, '/', { agent: client })).body) as Hello)
      )
    const ids = (answers: Hello[]): number[] => answers.map(({ connection }) => connection).sort((a, b) => a - b)
    const before = await all()
    expect(new Set(ids(before)).size).toBe(200)
    await asleep(server, 200)
    const { accepted } = await stats(server)
    const after = await all()
    expect(ids(after)).toEqual(ids(before))
    expect(after.every(({ wakes }) => wakes === 2)).toBe(true)
    // One more for the request to /stats.
    expect((await stats(server)).accepted).toBe(accepted + 1)
    await ends(server)
  })

  test.skipIf(!has('ab'))('serves ApacheBench with keep-alive', async () => {
    const server = await example(name)
    const { stdout } = await run('ab', ['-k', '-l', '-q', '-n', '3000', '-c', '30', `http://127.0.0.1:${server.port}/`])
    expect(stdout).toMatch(/^Complete requests: +3000$/m)
    expect(stdout).toMatch(/^Failed requests: +0$/m)
    expect(stdout).not.toContain('Non-2xx')
    await ends(server)
  })

  test.skipIf(!has('curl'))('serves two requests of curl on one connection', async () => {
    const server = await example(name)
    const url = `http://127.0.0.1:${server.port}/`
    const { stdout } = await run('curl', ['-sS', '-w', ' %{http_code} %{num_connects}\n', url, url])
    expect(stdout).toMatch(/^({"hello":"world","connection":\d+,"wakes":1} 200) 1\n\1 0\n$/)
    await ends(server)
  })

  test('SIGTERM closes parked connections and finishes requests in progress', async () => {
    const server = await example(name)
    const client = agent()
    await ask(server, '/', { agent: client })
    const closed = Promise.all(
      Object.values(client.freeSockets)
        .flat()
        .map((socket) => socket && once(socket, 'close'))
    )
    await asleep(server, 1)
    const upload = net.connect(server.port, '127.0.0.1')
    upload.write('POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n')
    upload.write('Content-Type: text/plain\r\nContent-Length: 10\r\n\r\n')
    upload.write('12345')
    await vi.waitFor(async () => expect(await stats(server)).toMatchObject({ awake: 2 }), SOON)
    server.kill('SIGTERM')
    await refused(server)
    await closed
    upload.write('67890')
    expect(await text(upload)).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*12345[\s\S]*67890/)
    await ended(server)
  })
})

describe('events', () => {
  test('go to the subscribers of their topic, whose connections stay parked', async () => {
    const server = await example('events.mjs')
    const news = await subscribe(server, 'news', 300)
    const weather = await subscribe(server, 'weather', 100)
    await asleep(server, 400)
    const before = await stats(server)
    expect(before.subscribers).toBe(400)
    expect(await publish(server, 'news', 'one')).toBe(300)
    expect(await publish(server, 'news', 'two\nlines')).toBe(300)
    expect(await publish(server, 'weather', 'rain')).toBe(100)
    expect(await publish(server, 'sport', 'nobody')).toBe(0)
    await had(news, ['news begins', 'one', 'two\nlines'])
    await had(weather, ['weather begins', 'rain'])
    // Only the four publishers and the request to /stats woke a connection.
    const after = await stats(server)
    expect(after.woken - before.woken).toBe(5)
    expect(after).toMatchObject({ parked: 400, subscribers: 400 })
    await ends(server)
  })

  test('a path that is not valid as a URL does not end the server', async () => {
    const server = await example('events.mjs')
    expect((await ask(server, '//')).status).toBe(404)
    await ends(server)
  })

  test('forgets subscribers that leave', async () => {
    const server = await example('events.mjs')
    const [staying, leaving] = [await subscribe(server, 'news', 50), await subscribe(server, 'news', 150)]
    await had([...staying, ...leaving], ['news begins'])
    for (const subscriber of leaving) subscriber.leave()
    // `fetch` may open a replacement connection and send nothing, so the number of parked connections is not checked.
    await vi.waitFor(async () => expect((await stats(server)).subscribers).toBe(50), SOON)
    expect((await stats(server)).closed.peer).toBeGreaterThanOrEqual(150)
    expect(await publish(server, 'news', 'still here?')).toBe(50)
    await had(staying, ['news begins', 'still here?'])
    await ends(server)
  })

  test('a subscriber that does not read blocks nobody, and receives everything later', async () => {
    const server = await example('events.mjs')
    const others = await subscribe(server, 'big', 3)
    const slow = net.connect(server.port, '127.0.0.1')
    onTestFinished(() => {
      slow.destroy()
    })
    slow.write('GET /events?topic=big HTTP/1.1\r\nHost: x\r\n\r\n')
    await vi.waitFor(async () => expect(await stats(server)).toMatchObject({ subscribers: 4 }), SOON)
    // More than the kernel buffers for a connection on loopback.
    const bodies = Array.from({ length: 16 }, (_, i) => `${i} `.repeat(500_000))
    for (const body of bodies) expect(await publish(server, 'big', body)).toBe(4)
    await vi.waitFor(() => {
      for (const { events } of others) {
        expect(events.length).toBe(17)
        expect(events.slice(1).every((event, i) => event === bodies[i])).toBe(true)
      }
    }, SOON)
    let received = ''
    slow.setEncoding('latin1').on('data', (chunk: string) => {
      received += chunk
    })
    const expected = bodies.map((body) => `data: ${body}\n\n`).join('')
    await vi.waitFor(() => expect(received.endsWith(expected)).toBe(true), SOON)
    await asleep(server, 4)
    await ends(server)
  })

  test.skipIf(!has('curl'))('curl -N prints them', async () => {
    const server = await example('events.mjs')
    const curl = new Cli(['curl', '-sSN', `http://127.0.0.1:${server.port}/events?topic=news`])
    await curl.said(/news begins\n\n/)
    expect(await publish(server, 'news', 'Hello')).toBe(1)
    await curl.said(/data: Hello\n\n/)
    await ends(server)
    expect(await curl.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('streams end with the server', async () => {
    const server = await example('events.mjs')
    const subscribers = await subscribe(server, 'news', 100)
    await asleep(server, 100)
    await ends(server, 'SIGINT')
    await vi.waitFor(() => expect(subscribers.every(({ ended }) => ended)).toBe(true), SOON)
    // A FIN, not a reset.
    expect(subscribers.filter(({ failure }) => failure !== undefined)).toEqual([])
  })
})

describe.skipIf(!has('nginx'))('nginx', () => {
  /** Starts nginx with the example's configuration on a Unix socket, because another process could take a free port. */
  async function nginx({ port }: Where): Promise<Cli & { socketPath: string }> {
    const directory = mkdtempSync(join(tmpdir(), 'ebb-nginx-'))
    // If root starts nginx, its workers run as another user.
    chmodSync(directory, 0o755)
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const conf = readFileSync(join(ROOT, 'examples/nginx/nginx.conf'), 'utf8')
    const socketPath = join(directory, 'nginx.sock')
    const changed = conf
      .replace('server 127.0.0.1:3000;', `server 127.0.0.1:${port};`)
      .replace('listen 127.0.0.1:8080;', `listen unix:${socketPath};`)
    expect(changed).toContain(`127.0.0.1:${port};`)
    expect(changed).toContain(`unix:${socketPath};`)
    writeFileSync(join(directory, 'nginx.conf'), changed)
    const cli = new Cli(['nginx', '-p', directory, '-c', 'nginx.conf', '-e', 'stderr'], { env: { PATH } })
    await vi.waitFor(async () => expect((await ask({ socketPath }, '/')).status).toBe(200), SOON)
    return Object.assign(cli, { socketPath })
  }

  test('parks and reuses the connections of nginx', async () => {
    const server = await example('nginx/server.mjs')
    const front = await nginx(server)
    await asleep(server, 1)
    const first = JSON.parse((await ask(front, '/')).body) as { connection: number; wakes: number }
    await asleep(server, 1)
    const second = JSON.parse((await ask(front, '/')).body) as { connection: number; wakes: number }
    expect(second).toMatchObject({ connection: first.connection, wakes: first.wakes + 1 })
    // The only other connection is that of the request to /stats.
    const { awake, parked } = await stats(server)
    expect(awake + parked).toBe(2)
    await ends(front, 'SIGQUIT')
    await ends(server)
  })

  test('serves a crowd through nginx', async () => {
    const server = await example('nginx/server.mjs')
    const front = await nginx(server)
    for (let round = 0; round < 2; round++) {
      const answers = await Promise.all(Array.from({ length: 200 }, () => ask(front, '/')))
      expect(answers.every(({ status }) => status === 200)).toBe(true)
      // nginx keeps at most 64 idle connections.
      await vi.waitFor(async () => {
        const { awake, parked } = await stats(server)
        expect(awake).toBe(1)
        expect(parked).toBeGreaterThan(0)
        expect(parked).toBeLessThanOrEqual(64)
      }, SOON)
    }
    await ends(front, 'SIGQUIT')
    await ends(server)
  })

  test('passes events at once; a client that leaves nginx also leaves the server', async () => {
    const server = await example('nginx/server.mjs')
    const front = await nginx(server)
    const listeners = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const request = http.get({ socketPath: front.socketPath, path: '/events', agent: false })
        request.on('error', () => {})
        onTestFinished(() => {
          request.destroy()
        })
        const [response] = (await once(request, 'response')) as [http.IncomingMessage]
        const listener = { request, heard: '', ended: false }
        response.setEncoding('utf8').on('data', (chunk: string) => {
          listener.heard += chunk
        })
        response.on('error', () => {})
        response.on('end', () => {
          listener.ended = true
        })
        return listener
      })
    )
    // One of them reuses the connection of the first request.
    await asleep(server, 20)
    await vi.waitFor(() => {
      for (const { heard } of listeners) expect(heard).toMatch(/^(data: \S+Z\n\n){2,}$/)
    }, SOON)
    for (const { request } of listeners.splice(0, 15)) request.destroy()
    await asleep(server, 5)
    await ends(server)
    await vi.waitFor(() => expect(listeners.every(({ ended }) => ended)).toBe(true), SOON)
    // nginx ends the streams without an error, because they had no length.
    await ends(front, 'SIGQUIT')
  })
})

describe('on a machine where nothing can be parked', () => {
  // Like a machine for which koffi has no binary.
  const broken = `import Module from 'node:module'
    const load = Module._load
    Module._load = (id, ...rest) => {
      if (id === 'koffi') throw new Error('no binary')
      return load(id, ...rest)
    }`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(broken)}`]

  async function plain(name: string): Promise<Example> {
    const server = await example(name, args)
    await server.said(/EBB_UNSUPPORTED/)
    return server
  }

  async function endsPlain(server: Example): Promise<void> {
    server.kill('SIGTERM')
    const { code, stderr } = await server.ended
    expect({ code, warnings: stderr.match(/Warning: .*/g) }).toEqual({
      code: 0,
      warnings: [expect.stringMatching(/koffi cannot be loaded: no binary \(.*\); the server runs as plain Node$/)]
    })
  }

  test('the chat works', async () => {
    const chat = await plain('chat.mjs')
    const ann = await joined(chat, 'ann')
    const bob = await joined(chat, 'bob')
    ann.socket.write('hello ')
    await bob.sees(2, 0)
    ann.socket.write('bob\n')
    await bob.hears('ann: hello bob\n')
    ann.socket.end()
    await bob.hears('* ann left\n')
    await endsPlain(chat)
  })

  test('events are delivered', async () => {
    const server = await plain('events.mjs')
    const subscribers = await subscribe(server, 'news', 5)
    expect(await publish(server, 'news', 'one')).toBe(5)
    await had(subscribers, ['news begins', 'one'])
    for (const subscriber of subscribers.splice(0, 2)) subscriber.leave()
    await vi.waitFor(async () => expect(await stats(server)).toMatchObject({ subscribers: 3, parked: 0 }), SOON)
    expect(await publish(server, 'news', 'two')).toBe(3)
    await had(subscribers, ['news begins', 'one', 'two'])
    await endsPlain(server)
  })

  test.each(['express.mjs', 'fastify.mjs', 'nginx/server.mjs'])('%s answers', async (name) => {
    const server = await plain(name)
    const client = agent()
    for (const reused of [false, true]) {
      const answer = await ask(server, '/', { agent: client })
      expect(answer).toMatchObject({ status: 200, reused })
      expect(JSON.parse(answer.body)).toMatchObject({ wakes: 1 })
    }
    await endsPlain(server)
  })
})
