/** Listeners that the application can see, on a server and on its sockets: those of plain Node, in the same order. */
import type { EventEmitter } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'
import { park } from 'ebb'
import { createServer } from 'ebb/net'
import { expect, onTestFinished, test } from 'vitest'
import { until } from '../support/sockets.js'

function listener(): void {}

const KINDS: Record<string, () => net.Server> = {
  'net.createServer': () => net.createServer(listener),
  'tls.createServer': () => tls.createServer({}, listener),
  'http.createServer': () => http.createServer(listener),
  'https.createServer': () => https.createServer({}, listener),
  'http2.createServer': () => http2.createServer(listener),
  'http2.createSecureServer': () => http2.createSecureServer({}, listener)
}

/** All listeners by event: their names, also without what `once()` puts around them. */
function seen(emitter: EventEmitter): unknown {
  return emitter
    .eventNames()
    .map((event) => [
      event,
      emitter.listenerCount(event),
      [...emitter.listeners(event), ...emitter.rawListeners(event)].map(({ name }) => name.replace(/^bound /, ''))
    ])
}

/** The listeners of a server when it is made, listens, has a connection, and is closed; and those of the socket. */
async function life(server: net.Server): Promise<unknown[]> {
  const states = [seen(server)]
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  states.push(seen(server))
  const { port } = server.address() as net.AddressInfo
  const socket = new Promise<net.Socket>((resolve) => server.prependOnceListener('connection', resolve))
  const peer = net.connect(port, '127.0.0.1').on('error', listener)
  onTestFinished(() => {
    peer.destroy()
  })
  peer.write('x')
  const accepted = await socket
  states.push(seen(accepted), seen(server))
  accepted.on('error', listener).resume()
  peer.destroy()
  await until(() => accepted.closed)
  server.close()
  await until(() => !server.listening)
  return [...states, seen(server)]
}

test.each(Object.keys(KINDS))('park(%s()): the listeners of plain Node', async (name) => {
  const make = KINDS[name] as () => net.Server
  expect(await life(park(make(), { idle: 5 }))).toEqual(await life(make()))
})

test('createServer() of ebb/net: the listeners of plain Node', async () => {
  expect(await life(createServer({ idle: 5 }, listener))).toEqual(await life(net.createServer(listener)))
  const server = createServer(listener)
  expect(server.listeners('connection')).toEqual([listener])
  expect(server.off('connection', listener).listenerCount('connection')).toBe(0)
})

test('a request after a sleep, with maxRequestsPerSocket: one listener, and the limit of the program', async () => {
  const counts: number[][] = []
  const server = park(http.createServer(), { idle: 5 })
  server.on('request', (request, response) => {
    counts.push([server.listenerCount('request'), server.maxRequestsPerSocket as number])
    expect(Object.hasOwn(server, 'emit')).toBe(false)
    response.end(request.url)
  })
  server.maxRequestsPerSocket = 10
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => {
    agent.destroy()
    server.close()
  })
  const { port } = server.address() as net.AddressInfo
  for (let i = 0; i < 3; i++) {
    const said = await new Promise<string>((resolve) => {
      http.get({ port, host: '127.0.0.1', agent }, (response) => {
        response.resume().on('end', () => resolve(`${response.headers['keep-alive']}`))
      })
    })
    expect(said).toContain('max=10')
    await until(() => server.stats().parked === 1)
  }
  expect(server.stats().woken).toBe(3)
  expect(counts).toEqual(Array(3).fill([1, 10]))
})
