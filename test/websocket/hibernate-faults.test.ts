/** Servers of `hibernate()` beside frameworks, in other threads and processes, and when something runs out. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { park } from 'ebb'
import { hibernate } from 'ebb/websocket'
import fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { Child, FEW_DESCRIPTORS } from '../support/child.js'

/** Opens a connection and returns what comes back. */
async function echo(port: number, path = '/'): Promise<string> {
  const client = new WebSocket(`ws://127.0.0.1:${port}${path}`)
  onTestFinished(() => client.terminate())
  await once(client, 'open')
  client.send('hello')
  const [answer] = await once(client, 'message')
  client.close()
  await once(client, 'close')
  return String(answer)
}

const echoes = {
  message: (socket: { send(data: string | Buffer): boolean }, data: string | Buffer) => void socket.send(data)
}

test.each([true, false])('on the port of a Fastify application (parked: %s)', async (isParked) => {
  const app = fastify({ forceCloseConnections: true })
  if (isParked) park(app.server)
  app.get('/', () => ({ hello: 'fastify' }))
  const hub = hibernate(app.server, echoes, { path: '/ws' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).json()).toEqual({ hello: 'fastify' })
  expect(await echo(port, '/ws')).toBe('hello')
  await hub.close()
  await app.close()
})

test('on the port of an Express application', async () => {
  // Not a dependency of its own: `park-http.md` uses it in the same way.
  const { default: express } = (await import('express' as string)) as { default: () => ExpressApp }
  const app = express()
  app.get('/', (_, response) => response.send('hello express'))
  const server = park(http.createServer(app))
  const hub = hibernate(server, echoes)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('hello express')
  expect(await echo(port)).toBe('hello')
  expect(await (await fetch(`http://127.0.0.1:${port}/none`)).status).toBe(404)
  const report = await server.shutdown({ grace: 0 })
  expect(report.cut).toBe(0)
  expect(hub.size).toBe(0)
})

interface ExpressApp extends http.RequestListener {
  get(path: string, handler: (request: unknown, response: { send(text: string): void }) => void): void
}

test.each([true, false])('without a free descriptor (a port of its own: %s)', async (isOwn) => {
  const child = new Child(
    `
    import { once } from 'node:events'
    import { closeSync, openSync } from 'node:fs'
    import http from 'node:http'
    import { hibernate } from 'ebb/websocket'
    import { WebSocket } from 'ws'
    const plain = http.createServer()
    const hub = hibernate(${isOwn} ? { port: 0 } : plain, { message: (socket, data) => void socket.send(data) })
    if (!${isOwn}) await once(plain.listen(0, '127.0.0.1'), 'listening')
    process.on('warning', () => {})
    const url = 'ws://127.0.0.1:' + hub.server.address().port
    const open = () => {
      const client = new WebSocket(url)
      client.heard = new Promise((resolve) => client.once('message', (data) => resolve(String(data))))
      client.once('open', () => client.send('x'))
      client.on('error', () => {})
      return client
    }
    const held = []
    try {
      for (;;) held.push(openSync('/dev/null'))
    } catch (error) {
      if (error.code !== 'EMFILE') throw error
    }
    // Three clients and two connections: with an HTTP server, there is no descriptor to park them.
    const first = [held.pop(), held.pop(), held.pop(), held.pop()]
    first.forEach(closeSync)
    const clients = [open(), open()]
    await Promise.all(clients.map((client) => once(client, 'open')))
    await new Promise((resolve) => setTimeout(resolve, 300))
    const size = hub.size
    held.splice(0, 10).forEach(closeSync)
    const heard = await Promise.all(clients.map((client) => client.heard))
    const late = open()
    const lateHeard = await late.heard
    console.log(JSON.stringify([size, ...heard, lateHeard, hub.size]))
    process.exit()`,
    { shell: FEW_DESCRIPTORS }
  )
  expect(await child.next()).toEqual([2, 'x', 'x', 'x', 3])
})

test('in a worker thread that is terminated', async () => {
  const child = new Child(`
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import { WebSocket } from 'ws'
    const source = \`
      import { parentPort } from 'node:worker_threads'
      import { hibernate } from 'ebb/websocket'
      const hub = hibernate({ port: 0 }, { message: (socket, data) => void socket.send(data) })
      parentPort.postMessage(hub.server.address().port)\`
    const worker = new Worker(source, { eval: true })
    const [port] = await once(worker, 'message')
    const client = new WebSocket('ws://127.0.0.1:' + port)
    await once(client, 'open')
    client.send('worker')
    const [heard] = await once(client, 'message')
    const closed = once(client, 'close')
    await worker.terminate()
    const [code] = await closed
    console.log(JSON.stringify([String(heard), code]))
    process.exit()`)
  expect(await child.next()).toEqual(['worker', 1006])
})

/** Connections of one crowd; the issue asks for 5000. */
const CROWD = Number(process.env.EBB_CROWD ?? 100)

test.each([true, false])(`20 crowds of ${CROWD}: no memory stays (a port of its own: %s)`, async (isOwn) => {
  const child = new Child(
    `
    import { once } from 'node:events'
    import http from 'node:http'
    import { connect } from 'node:net'
    import { release } from 'ebb/memory'
    import { audit } from 'ebb/testing'
    import { hibernate } from 'ebb/websocket'
    const plain = http.createServer()
    const hub = hibernate(${isOwn} ? { port: 0, giveBack: false } : plain, {
      upgrade: ({ url, protocols }) => ({ tags: [url, 'all'], attachment: { url }, protocol: protocols[0] }),
      message: (socket, data) => void socket.send(data)
    }, { liveness: '1h', autoResponse: { request: 'ping', response: 'pong' } })
    if (!${isOwn}) await once(plain.listen(0, '127.0.0.1', 4096), 'listening')
    const turn = () => new Promise((resolve) => setImmediate(resolve))
    const until = async (condition) => { while (!condition()) await turn() }
    const { port } = hub.server.address()
    const REQUEST = (i) => 'GET /tag' + i + ' HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Protocol: chat\\r\\n\\r\\n'
    const frame = (first, text) => Buffer.concat([Buffer.from([first, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
    const play = async () => {
      let answered = 0
      const clients = []
      for (let i = 0; i < ${CROWD}; i++) {
        const client = connect(port, '127.0.0.1').on('error', () => {})
        client.on('data', () => answered++)
        client.write(REQUEST(i))
        clients.push(client)
        if (i % 50 === 49) await turn()
      }
      await until(() => hub.size === ${CROWD} && answered >= ${CROWD})
      answered = 0
      for (const client of clients) client.write(frame(0x81, 'hi'))
      await until(() => answered >= ${CROWD})
      answered = 0
      for (const client of clients) client.write(frame(0x81, 'ping'))
      await until(() => answered >= ${CROWD})
      // One that is incomplete on each, and every end.
      for (const client of clients) client.write(frame(0x01, 'part'))
      const sockets = [...hub.sockets('all')]
      clients.forEach((client, i) => {
        if (i % 5 === 0) client.write(frame(0x88, ''))
        else if (i % 5 === 1) client.end()
        else if (i % 5 === 2) client.resetAndDestroy()
        else if (i % 5 === 3) sockets[i].terminate()
        else sockets[i].close()
      })
      await turn()
      for (const client of clients) client.destroy()
      await until(() => hub.size === 0)
    }
    const heaps = []
    for (let crowd = 0; crowd < 20; crowd++) {
      await play()
      for (let turns = 0; turns < 5; turns++) await turn()
      await release()
      const { heapUsed, arrayBuffers } = process.memoryUsage()
      heaps.push(heapUsed + arrayBuffers)
    }
    console.log(JSON.stringify({ heaps, faults: audit(), tags: hub.count('all') }))
    process.exit()`
  )
  const { heaps, faults, tags } = await child.next<{ heaps: number[]; faults: string[]; tags: number }>()
  if (process.env.EBB_CROWD !== undefined) console.log(heaps)
  expect([faults, tags]).toEqual([[], 0])
  expect(heaps.at(-1)).toBeLessThan((heaps[4] as number) * 1.1)
})
