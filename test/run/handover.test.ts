/** `ebb run --handover` with servers under load: SIGHUP, `--max-memory`. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Answer, EchoClient } from '../support/handover.js'
import { directory, until } from '../support/sockets.js'
import { Streamer, supervised } from '../support/supervised.js'

const ROUNDS = Number(process.env.EBB_ROUNDS ?? 3)

test('SIGHUP under load: no error, no wrong byte, no connection lost', async () => {
  const servers = `
    const web = park(http.createServer((request, response) => {
      if (request.url === '/slow') setTimeout(() => response.end('slow'), 300)
      else if (request.url === '/events') web.stream(response)
      else {
        let length = 0
        request.on('data', (bytes) => { length += bytes.length })
        request.on('end', () => response.end(String(length)))
      }
    }), { idle: '20ms' })
    web.keepAliveTimeout = 60_000
    const echo = createServer({ idle: '20ms' }, (socket) => {
      socket.on('error', () => {}).on('data', (bytes) => socket.write(bytes))
    })
    setInterval(() => web.broadcast('data: ' + process.pid + '\\n\\n'), 50).unref()
    const servers = { web, echo }
    const listen = { web: { port: PORTS[0], host: '127.0.0.1' }, echo: { port: PORTS[1], host: '127.0.0.1' } }`
  const { cli, ports } = await supervised(['--handover'], { servers, grace: '2s' })
  const [port = 0, echoPort = 0] = ports
  let isOver = false
  const counts = { kept: 0, slow: 0, uploads: 0, fresh: 0 }
  const agent = (keepAlive: boolean): http.Agent => {
    const made = new http.Agent({ keepAlive, maxSockets: 1 })
    onTestFinished(() => made.destroy())
    return made
  }
  const request = async (path: string, agent: http.Agent, body: readonly Buffer[] = []): Promise<string> => {
    const sent = http.request({ port, host: '127.0.0.1', path, agent, method: body.length > 0 ? 'POST' : 'GET' })
    const response = once(sent, 'response')
    response.catch(() => {})
    for (const part of body) {
      sent.write(part)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    sent.end()
    const [answer] = (await response) as [http.IncomingMessage]
    return String((await answer.setEncoding('utf8').toArray()).join(''))
  }
  const loop = async (count: keyof typeof counts, expected: string, act: () => Promise<string>): Promise<void> => {
    while (!isOver) {
      expect(await act()).toBe(expected)
      counts[count]++
    }
  }
  const stream = http.get({ port, host: '127.0.0.1', path: '/events' })
  const [events] = (await once(stream, 'response')) as [http.IncomingMessage]
  onTestFinished(() => void stream.destroy())
  let received = ''
  events.setEncoding('utf8').on('data', (text: string) => {
    received += text
  })
  let isCut = false
  events.on('close', () => (isCut = true)).on('error', () => (isCut = true))
  const kept = Array.from({ length: 6 }, () => agent(true))
  const [slow, upload] = [agent(true), agent(true)]
  const body = new Array(5).fill(Buffer.alloc(5000))
  const loops = [
    ...kept.map((one) => loop('kept', '0', () => request('/', one))),
    loop('slow', 'slow', () => request('/slow', slow)),
    loop('uploads', '25000', () => request('/', upload, body)),
    loop('fresh', '0', () => request('/', agent(false)))
  ]
  const streamers = [1, 100, 10_000, 200_000].map((piece, seed) => new Streamer(echoPort, seed, piece))
  for (let round = 0; round < ROUNDS; round++) {
    cli.kill('SIGHUP')
    await until(() => (cli.stderr.match(/has taken over from/g) ?? []).length === round + 1)
    // The process before has ended when everything has followed.
    await until(() => (cli.stderr.match(/has ended after its handover/g) ?? []).length === round + 1)
    const before = streamers.map((streamer) => streamer.received)
    await until(() =>
      streamers.every((streamer, i) => streamer.fault !== undefined || streamer.received > (before[i] as number))
    )
    expect(streamers.map(({ fault }) => fault)).toEqual(streamers.map(() => undefined))
  }
  isOver = true
  await Promise.all(loops)
  await Promise.all(streamers.map((streamer) => streamer.end()))
  for (const { received: count, sent } of streamers) expect(count).toBe(sent)
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(0)
  // The stream has the events of all processes, each whole, and in one row for each process.
  const senders = received.split('\n\n').slice(0, -1)
  expect(senders.every((line) => /^data: \d+$/.test(line))).toBe(true)
  expect(senders.filter((line, i) => line !== senders[i - 1])).toHaveLength(ROUNDS + 1)
  expect(isCut).toBe(false)
  expect(cli.stderr).not.toMatch(/ERR_/)
  await cli.end('SIGTERM')
})

test('--max-memory: a fresh process takes over from one that has leaked, and no connection is lost', async () => {
  const servers = `
    const leaked = []
    const servers = createServer({ idle: '20ms' }, (socket, { id }) => {
      socket.on('error', () => {}).on('data', (text) => {
        if (String(text) === 'leak') leaked.push(Buffer.alloc(200e6, 1))
        socket.write(JSON.stringify({ pid: process.pid, id, text: String(text) }) + '\\n')
      })
    })
    const listen = { port: PORTS[0], host: '127.0.0.1' }`
  const options = ['--handover', '--max-memory', '150MB', '--memory-window', '600ms']
  const { cli, open } = await supervised(options, { servers })
  const clients = await open(100)
  const before = await Promise.all(clients.map((client) => client.ask('x')))
  const [{ pid }] = before as [Answer]
  await clients[0]?.ask('leak')
  await cli.said(new RegExp(`process ${pid} has not held less than [\\d.]+ MB of memory`))
  await cli.said(new RegExp(`process ${pid} has ended after its handover`))
  const after = await Promise.all(clients.map((client) => client.ask('y')))
  expect(after.map(({ id }) => id)).toEqual(before.map(({ id }) => id))
  const [{ pid: fresh }] = after as [Answer]
  expect(fresh).not.toBe(pid)
  const [, kilobytes] = /RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${fresh}/status`, 'utf8')) ?? []
  expect(Number(kilobytes)).toBeLessThan(150_000)
})

/** Servers whose second process does something when it has the servers and is not ready yet. */
const atDone = (act: string): string => `
    import { subscribe } from 'node:diagnostics_channel'
    import { existsSync, readFileSync, writeFileSync } from 'node:fs'
    const marks = process.env.MARKS
    const untilTheFirstHasEnded = () => {
      try {
        for (;;) process.kill(Number(readFileSync(marks + '-first', 'utf8')), 0)
      } catch {}
    }
    if (!existsSync(marks + '-first')) writeFileSync(marks + '-first', String(process.pid))
    else if (!existsSync(marks + '-second')) {
      writeFileSync(marks + '-second', '')
      subscribe('ebb:handover', (name) => { if (name === 'new:done') { ${act} } })
    }
    const servers = createServer({ idle: '20ms' }, (socket) => {
      socket.on('error', () => {}).on('data', (text) => socket.write(JSON.stringify({ pid: process.pid, text: String(text) }) + '\\n'))
    })
    const listen = { port: PORTS[0], host: '127.0.0.1' }`

test.each([
  ['while the process before still runs', ''],
  ['after the process before has ended', 'untilTheFirstHasEnded()']
])('a successor that dies with the servers, before it is ready, is replaced at once: %s', async (_when, wait) => {
  const servers = atDone(`${wait}; process.kill(process.pid, 'SIGKILL')`)
  const { cli, open } = await supervised(['--handover'], { servers, env: { MARKS: join(directory(), 'mark') } })
  cli.kill('SIGHUP')
  // The process before may have told by then that it has handed over, or not yet.
  await cli.said(
    /ERR_EBB_RUN_SUCCESSOR: process (\d+) was ended by SIGKILL before it was ready; (no process serves|process \d+ serves on)/
  )
  await until(() => (cli.stderr.match(/process \d+ is ready/g) ?? []).length === 2)
  const [client] = (await open(1)) as [EchoClient]
  const { pid } = await client.ask('x')
  expect(cli.stderr).toContain(`process ${pid} is ready`)
  expect(cli.stderr).not.toContain('before it had handed over')
  await cli.end('SIGTERM')
})

test('a process may end after its handover before the successor is ready', async () => {
  const servers = atDone('untilTheFirstHasEnded()')
  const { cli, open } = await supervised(['--handover'], { servers, env: { MARKS: join(directory(), 'mark') } })
  cli.kill('SIGHUP')
  const [, former] = await cli.said(/process (\d+) has ended after its handover/)
  const [, successor] = await cli.said(new RegExp(`is to take over from process ${former}[^]*process (\\d+) is ready`))
  const [client] = (await open(1)) as [EchoClient]
  expect(await client.ask('x')).toMatchObject({ pid: Number(successor), text: 'x' })
  expect(cli.stderr).not.toMatch(/ERR_|restarting/)
  await cli.end('SIGTERM')
})
