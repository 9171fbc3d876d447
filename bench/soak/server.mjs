/**
 * The servers of the soak: HTTP with streams and upgrades, `ebb/net` with timeouts, and `listen()`, in one process.
 * They are shut down and made again while clients are connected.
 */
import { readdirSync, readFileSync } from 'node:fs'
import http from 'node:http'
import { listen, park, release } from 'ebb'
import { createServer } from 'ebb/net'
import { audit, trackCreated } from 'ebb/testing'
import { answer } from '../harness/answer.mjs'

/** @import { Socket } from 'node:net' */

trackCreated()

const IDLE = '200ms'

/** @type {string[]} */
const failures = []
process.on('uncaughtException', (error) => failures.push(String(error.stack)))

/** Connections since the start, of all servers. */
let accepted = 0
/** Servers that were shut down. */
let ended = 0

function makeHttp() {
  const server = park(
    http.createServer({ keepAliveTimeout: 3000, headersTimeout: 4000, requestTimeout: 4000 }, (request, response) => {
      if (request.url === '/stream') {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        server.stream(response)
      } else response.end('x'.repeat(request.url === '/large' ? 300_000 : 10))
    }),
    { idle: IDLE }
  )
  server.on('upgrade', (_request, /** @type {Socket} */ socket) => {
    socket.removeAllListeners().on('error', () => {})
    socket.resume().end('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  })
  return server
}

function makeNet() {
  return createServer({ idle: IDLE, firstByteTimeout: '4s' }, (socket, connection) => {
    socket.on('error', () => {})
    socket.setTimeout(4000, () => socket.destroy())
    socket.on('data', (bytes) => {
      connection.attachment = { wakes: connection.wakes }
      if (bytes[0] === 0x75) socket.unref()
      // What is taken over is never parked.
      if (bytes[0] === 0x68) web.emit('connection', socket)
      else socket.write(bytes)
    })
  })
}

function makeListener() {
  return listen(
    { port: 0, host: '127.0.0.1', firstByteTimeout: '4s' },
    { data: (connection, bytes) => connection.write(bytes) }
  )
}

const web = http.createServer((_request, response) => void response.end('web'))
let servers = { http: makeHttp(), net: makeNet(), bare: makeListener() }

/** @param {http.Server | import('node:net').Server} server */
const listening = (server) =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(undefined))
  })

const portOf = (/** @type {{ address: unknown }} */ { address }) => /** @type {{ port: number }} */ (address).port

function ports() {
  return {
    http: portOf({ address: servers.http.address() }),
    net: portOf({ address: servers.net.address() }),
    bare: portOf(servers.bare)
  }
}

await Promise.all([listening(servers.http), listening(servers.net)])

const orders = {
  ports,
  /** Sends the same bytes to all streams, and to all connections of `ebb/net`. */
  async broadcast() {
    const counts = await Promise.all([servers.http.broadcast(': soak\n\n'), servers.net.broadcast('soak')])
    return counts[0] + counts[1]
  },
  /**
   * Shuts all servers down while clients are connected, and makes others.
   *
   * @param {number} grace ms
   */
  async renew(grace) {
    const old = servers
    servers = { http: makeHttp(), net: makeNet(), bare: makeListener() }
    await Promise.all([listening(servers.http), listening(servers.net)])
    accepted += old.http.stats().accepted + old.net.stats().accepted + old.bare.accepted
    await Promise.all([old.http.shutdown({ grace }), old.net.shutdown({ grace }), old.bare.shutdown({ grace })])
    ended += 3
    return ports()
  },
  /** Returns what is open. */
  open() {
    const [web, net] = [servers.http.stats(), servers.net.stats()]
    return web.parked + web.awake + net.parked + net.awake + servers.bare.clients
  },
  /** Releases memory and returns the figures of this process. */
  async figures() {
    for (let i = 0; i < 3; i++) await release()
    const status = readFileSync('/proc/self/status', 'utf8')
    const [web, net] = [servers.http.stats(), servers.net.stats()]
    return {
      anonymous: Number(/^RssAnon:\s*(\d+)/m.exec(status)?.[1]) * 1024,
      descriptors: readdirSync('/proc/self/fd').length,
      rows: web.parked + web.awake + net.parked + net.awake + servers.bare.clients,
      timers: process.getActiveResourcesInfo().filter((name) => name === 'Timeout' || name === 'Immediate').length,
      wrong: audit(),
      failures: failures.splice(0),
      accepted: accepted + web.accepted + net.accepted + servers.bare.accepted,
      ended
    }
  }
}

/** @typedef {typeof orders} SoakOrders */

answer(orders)
