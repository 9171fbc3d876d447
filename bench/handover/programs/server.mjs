/**
 * A server that is restarted: HTTP with server-sent events, an echo of TCP, and WebSockets if they are asked for. The
 * same handlers run on ebb and on plain Node. Under `ebb run`, which leaves no channel to the benchmark, HTTP requests
 * tell what orders tell elsewhere.
 */
import { createHash } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import http from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { ownAnonymous, release } from 'ebb/memory'
import { bindSocket } from 'ebb/sys'
import { given } from '../../harness/answer.mjs'
import { HOST, report } from '../../harness/serve.mjs'

/** @import { Server, Socket } from 'node:net' */
/** @import { IncomingMessage, ServerResponse } from 'node:http' */
/** @import { HandedOver, From } from 'ebb/handover' */
/** @import { CommonOrders } from '../../harness/serve.mjs' */
/** @import { ServerOptions } from '../members.mjs' */

/** How long (ms) the answer of `/slow` takes, and the interval (ms) of events. */
const SLOW = 300
const EVERY = 50
/** Interval (ms) at which the event loop is watched. */
const WATCH = 2

const [options] = /** @type {[ServerOptions]} */ (given)
const { mode, path, port = 0, echoPort = 0, idle, grace, webSockets = false } = options

/** Milliseconds of CPU time of this process so far. */
function cpu() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** CPU time at which a handover began. */
let mark = 0

/** Watches the event loop: Node's own histogram misses a block that follows its reset. */
const loop = { last: 0, longest: 0 }

function watchLoop() {
  loop.last = performance.now()
  loop.longest = 0
  mark = cpu()
}

setInterval(() => {
  const now = performance.now()
  loop.longest = Math.max(loop.longest, now - loop.last - WATCH)
  loop.last = now
}, WATCH).unref()

/**
 * Resolves when no connection is left.
 *
 * @type {() => Promise<void>}
 */
let stop = async () => {}
/** @type {(response: ServerResponse) => void} */
let startEvents
/** @type {() => unknown} */
let stats = () => undefined

/**
 * @param {IncomingMessage} request
 * @param {ServerResponse} response
 */
async function handle(request, response) {
  const { pathname, search } = new URL(request.url ?? '/', 'http://server')
  if (pathname === '/') response.end('ok\n')
  else if (pathname === '/slow') {
    await wait(SLOW)
    response.end(search)
  } else if (pathname === '/hash')
    response.end(
      createHash('sha1')
        .update(await text(request))
        .digest('hex')
    )
  else if (pathname === '/events') startEvents(response)
  else if (pathname === '/figures') response.end(JSON.stringify({ pid: process.pid, cpu: cpu(), stats: stats() }))
  else response.writeHead(404).end()
}

/** @param {Socket} socket */
function echo(socket) {
  socket.on('error', () => {})
  socket.on('data', (bytes) => socket.write(bytes))
}

/** @param {import('ws').WebSocket} socket */
function echoMessages(socket) {
  socket.on('error', () => {})
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
}

/** The next event: the time, in intervals. */
const event = () => `data: ${Math.floor(Date.now() / EVERY)}\n\n`

/** What the last handover was like, for this process. */
const told = {
  /** @type {From | null} */
  from: null,
  /** @type {HandedOver | null} */
  handedOver: null,
  /** @type {string | null} */
  failed: null
}
const web = http.createServer((request, response) => {
  // A request that is cut off, when plain Node closes what is left.
  handle(request, response).catch(() => response.destroy())
})
// The benchmark holds idle connections for longer than Node's default of 5 s.
web.keepAliveTimeout = 600_000
const rest = { anonymous: 0 }
const ports = mode === 'ebb' ? await serveEbb() : await servePlain()

async function serveEbb() {
  const { park } = await import('ebb')
  const { createServer } = await import('ebb/net')
  const { handover } = await import('ebb/handover')
  const server = park(web, { idle, giveBack: false })
  const echoServer = createServer({ idle, giveBack: false }, echo)
  if (webSockets) {
    const { WebSocketServer } = await import('ws')
    const { parkWebSockets } = await import('ebb/ws')
    const parked = parkWebSockets(new WebSocketServer({ server }), { idle, moving: () => null })
    parked.on('connection', echoMessages)
    parked.on('moved', echoMessages)
  }
  stats = () => server.stats()
  startEvents = (response) => void server.stream(response).send(event())
  setInterval(() => void server.broadcast(event()), EVERY).unref()
  server.on('handedOver', (/** @type {HandedOver} */ handedOver) => {
    told.handedOver = handedOver
  })
  server.on('handoverFailed', (/** @type {Error} */ error) => {
    told.failed = error.message
  })
  // A successor is there: what follows is the handover.
  subscribe('ebb:handover', (step) => {
    if (step === 'old:welcome') watchLoop()
  })
  const closed = Promise.all([once(server, 'close'), once(echoServer, 'close')])
  stop = async () => void (await closed)
  if (process.connected) await release()
  rest.anonymous = ownAnonymous()
  watchLoop()
  told.from =
    (await handover(
      { web: server, echo: echoServer },
      {
        ...(path !== undefined && { path }),
        listen: { web: { port, host: HOST, backlog: 4096 }, echo: { port: echoPort, host: HOST } },
        grace,
        timeout: '5s'
      }
    )) ?? null
  return { web: portOf(server), echo: portOf(echoServer) }
}

async function servePlain() {
  const { createServer } = await import('node:net')
  const echoServer = createServer(echo)
  /** @type {Set<Socket>} */
  const sockets = new Set()
  for (const server of [web, echoServer]) {
    server.on('connection', (socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    })
  }
  if (webSockets) {
    const { WebSocketServer } = await import('ws')
    new WebSocketServer({ server: web }).on('connection', echoMessages)
  }
  /** @type {Set<ServerResponse>} */
  const streams = new Set()
  startEvents = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(event())
    streams.add(response)
    response.on('close', () => streams.delete(response))
  }
  setInterval(() => {
    for (const response of streams) response.write(event())
  }, EVERY).unref()
  stop = async () => {
    const closed = [web, echoServer].map((server) => new Promise((resolve) => server.close(resolve)))
    const timer = setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, grace)
    await Promise.all(closed)
    clearTimeout(timer)
  }
  // Both processes listen at the port for a moment. Node 20 cannot ask for this itself.
  const listen = async (/** @type {Server} */ server, /** @type {number} */ at) => {
    server.listen({ fd: bindSocket({ host: HOST, port: at }, { reusePort: true }), backlog: 4096 })
    await once(server, 'listening')
    return portOf(server)
  }
  return { web: await listen(web, port), echo: await listen(echoServer, echoPort) }
}

/** @param {Server} server */
function portOf(server) {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  return address.port
}

/** @typedef {CommonOrders & typeof orders} ServerOrders */

const orders = {
  ports: () => ports,
  stats: () => /** @type {import('ebb').ParkStats} */ (stats()),
  /** Returns the anonymous memory, in bytes, that this process had before it took anything. */
  rest: () => rest.anonymous,
  /** Returns how the last handover was, with CPU time and the longest block of the event loop, in ms. */
  handover: () => ({ ...told, cpu: cpu() - mark, block: loop.longest }),
  /** Resolves when this process has given up all connections, or has closed them after its grace. */
  stop: () => stop()
}
report(ports.web, orders)
