/**
 * Servers whose listeners check in which scope they are called. Run by scope.test.ts in a process of its own, because
 * `async_hooks` and stores concern a whole process.
 *
 * Each listener calls `at()`, which looks for stores of others, and then leaves stores of its own behind.
 */
import { AsyncLocalStorage, executionAsyncId, executionAsyncResource } from 'node:async_hooks'
import { readdirSync, readlinkSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'
import { listen, park } from 'ebb'
import { createServer } from 'ebb/net'
import { playHibernate } from './hibernate-scopes.mjs'
import { playWebSockets } from './web-socket-scopes.mjs'

const { HTTPParser } = process.getBuiltinModule('_http_common')
const storage = new AsyncLocalStorage()
const second = new AsyncLocalStorage()
const MARK = Symbol('mark')
/** Longer than the buffers of the kernel. */
const LARGE = Buffer.alloc(12_000_000)

const faults = []
const events = new Set()
/** Async ids in which the events of a connection were called, by its name. */
const asyncIds = new Map()
/** Events that throw. */
let throwing = false
let thrown = 0
const uncaught = []
process.on('uncaughtException', (error) => uncaught.push([error.message, storage.getStore()]))

/** Runs a callback of Node's within the running one. */
function nested(callback) {
  const parser = new HTTPParser()
  parser.initialize(HTTPParser.RESPONSE, {})
  parser[HTTPParser.kOnHeadersComplete | 0] = () => 0
  parser[HTTPParser.kOnBody | 0] = callback
  parser.execute(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
}

/** To be called first in each listener. `owner` names the connection or the server that the event belongs to. */
function at(event, owner, { mayThrow = true } = {}) {
  events.add(event)
  for (const [from, store] of [
    ['enterWith', storage.getStore()],
    ['run', second.getStore()],
    ['resource', executionAsyncResource()[MARK]]
  ]) {
    if (store !== undefined && store !== owner) faults.push(`${event} of ${owner}: ${from} of ${store}`)
  }
  if (!(executionAsyncId() > 0)) faults.push(`${event} of ${owner}: async id ${executionAsyncId()}`)
  storage.enterWith(owner)
  executionAsyncResource()[MARK] = owner
  const order = []
  process.nextTick(() => order.push('tick'))
  void Promise.resolve().then(() => {
    order.push('microtask')
    if (storage.getStore() !== owner) faults.push(`microtask of ${event} of ${owner}: ${storage.getStore()}`)
  })
  order.push('begins')
  nested(() => order.push('body'))
  order.push('ends')
  // Node runs ticks of a callback that threw in the next turn.
  setTimeout(() => {
    if (order.join() !== 'begins,body,ends,tick,microtask') faults.push(`${event} of ${owner}: ${order}`)
  }, 10)
  if (throwing && mayThrow) {
    thrown++
    throw new Error(owner)
  }
}

/** Notes that an event of a connection is called with the async id of the connection. */
function identified(event, owner) {
  const ids = asyncIds.get(owner) ?? new Map()
  asyncIds.set(owner, ids)
  ids.set(event, [...(ids.get(event) ?? []), executionAsyncId()])
}

/** Returns how many sockets this process has open. */
function sockets() {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')
    } catch {
      return false
    }
  }).length
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
/** Waits until a condition holds. */
async function until(what, condition) {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return
    await sleep(5)
  }
  throw new Error(`never: ${what}: ${condition}`)
}

/**
 * Calls a method as a program would that has stores of its own, which the listeners must not get. In a callback of its
 * own: within a promise, ticks would run after other promises.
 */
function call(name, method) {
  const run = () => storage.run(`caller of ${name}`, () => second.run(`caller of ${name}`, method))
  return new Promise((resolve) => setImmediate(() => resolve(run())))
}

const certificate = { key: process.env.KEY, cert: process.env.CERT }

const KINDS = {
  'park(net)': (name, options) => onNet(name, park(net.createServer(), { idle: 20, ...options })),
  "park(net, { first: 'server' })": (name, options) =>
    onNet(name, park(net.createServer(), { idle: 20, first: 'server', ...options })),
  'ebb/net': (name, options) => {
    const listener = (socket, connection) => onSocket(name, socket, connection)
    return onServer(name, createServer({ idle: 20, ...options }, listener))
  },
  // Two large messages may wait for a stream.
  'park(http)': (name, options) =>
    onHttp(name, park(http.createServer(), { idle: 20, maxQueued: 2 * LARGE.length, ...options })),
  'park(https)': (name, options) => onHttp(name, park(https.createServer(certificate), { idle: 20, ...options }))
}

/** Connections that were announced, by name. */
const known = new Map()

function onSocket(name, socket, connection) {
  const owner = `${name} ${connection.id}`
  known.set(owner, connection)
  // An exception must not keep the other listeners from being set.
  socket.on('error', () => {})
  for (const event of ['data', 'end', 'close', 'drain', 'timeout']) {
    socket.on(event, (data) => {
      if (event === 'data' && String(data) === 'shut') socket.destroy()
      else if (event === 'data') socket.write(data)
      at(event, owner, { mayThrow: event === 'data' })
    })
  }
  identified('connection', owner)
  at('connection', owner)
}

function onServer(name, server) {
  server.on('disconnect', (connection) => {
    const owner = `${name} ${connection.id}`
    identified('disconnect', owner)
    at('disconnect', owner)
  })
  server.on('drop', () => at('drop', `${name} drop ${Math.random()}`))
  server.on('close', () => at('server close', name, { mayThrow: false }))
  return server
}

function onNet(name, server) {
  server.on('connection', (socket, connection) => onSocket(name, socket, connection))
  return onServer(name, server)
}

function onHttp(name, server) {
  server.on('connection', (socket, connection) => {
    const owner = `${name} ${connection.id}`
    known.set(owner, connection)
    socket.on('error', () => {}).on('close', () => at('socket close', owner, { mayThrow: false }))
    identified('connection', owner)
    at('connection', owner)
  })
  const ownerOf = (socket) => `${name} ${(server.connection(socket) ?? server.connection(socket._parent))?.id}`
  server.on('secureConnection', (socket) => at('secureConnection', ownerOf(socket), { mayThrow: false }))
  server.on('request', (request, response) => {
    const owner = ownerOf(request.socket)
    request.on('data', () => at('request data', owner, { mayThrow: false }))
    request.on('end', () => at('request end', owner, { mayThrow: false }))
    response.on('finish', () => at('finish', owner, { mayThrow: false }))
    response.on('close', () => at('response close', owner, { mayThrow: false }))
    if (request.url === '/stream') server.stream(response)
    else if (request.url === '/large') response.end(LARGE)
    else response.end('ok')
    at('request', owner, { mayThrow: false })
  })
  server.on('upgrade', (_, socket) => {
    socket.end()
    at('upgrade', ownerOf(socket), { mayThrow: false })
  })
  server.on('timeout', (socket) => {
    socket.destroy()
    at('server timeout', ownerOf(socket))
  })
  server.on('clientError', (_, socket) => {
    socket.destroy()
    at('clientError', ownerOf(socket), { mayThrow: false })
  })
  server.on('tlsClientError', (_, socket) => at('tlsClientError', ownerOf(socket)))
  return onServer(name, server)
}

/** A client. It gets no store: it is made by code that has none. */
function dial(server, isTls) {
  const { port } = server.address()
  const peer = isTls
    ? tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    : net.connect(port, '127.0.0.1')
  peer.received = 0
  peer
    .on('error', () => {})
    .on('data', ({ length }) => {
      peer.received += length
    })
  return new Promise((resolve) => peer.once(isTls ? 'secureConnect' : 'connect', () => resolve(peer)))
}

const dials = (server, count, isTls) => Promise.all(Array.from({ length: count }, () => dial(server, isTls)))
const request = (path, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`

/** Plays every event of a kind of server, by every method. */
async function playServer(kind) {
  const isHttp = kind.includes('http')
  const isTls = kind.includes('https')
  const before = sockets()
  const [a, b] = await call('park() and listen()', () => ['A', 'B'].map((name) => KINDS[kind](name)))
  if (isHttp) {
    for (const server of [a, b]) Object.assign(server, { keepAliveTimeout: 60_000, headersTimeout: 60_000 })
  }
  await call('park() and listen()', () =>
    Promise.all([a, b].map((server) => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))))
  )
  await new Promise((resolve) => setImmediate(resolve))
  const say = (peer, text = 'x') => peer.write(isHttp ? request('/') : text)

  // All in one batch: first bytes, later bytes, ends.
  const peers = [...(await dials(a, 4, isTls)), ...(await dials(b, 4, isTls))]
  for (const peer of peers) say(peer)
  await answered(peers, 1)
  const sleeps = !isTls
  if (sleeps) await until('all parked', () => a.stats().parked === 4 && b.stats().parked === 4)
  for (const peer of peers) {
    peer.received = 0
    say(peer)
  }
  await answered(peers, 1)
  if (sleeps) await until('all parked again', () => a.stats().parked === 4 && b.stats().parked === 4)

  const owners = [...known.keys()].filter((owner) => owner.startsWith('A '))
  const [first, , third, fourth] = owners.map((owner) => known.get(owner).id)
  if (!isHttp) {
    // The readers are slow, so the connections are woken.
    for (const peer of peers) peer.pause()
    await call('send()', () => a.send(first, LARGE))
    await call('send()', () => known.get(`A ${third}`).send(LARGE))
    await call('broadcast()', () => b.broadcast(LARGE))
    for (const peer of peers) {
      peer.received = 0
      peer.resume()
    }
    await answered([peers[0], ...peers.slice(4)], LARGE.length)
    // In every state, and more than once.
    await call('send()', () => a.send(first, 'small'))
    await call('broadcast()', () => b.broadcast('small'))
    await until('asleep', () => a.stats().parked === 4 && b.stats().parked === 4)
  } else if (!isTls) {
    const [stream] = await dials(a, 1)
    stream.write(request('/stream'))
    await answered([stream], 1)
    await until('a stream', () => a.stats().parked === 5)
    stream.pause()
    const { id } = [...known.values()].at(-1)
    await call('broadcast()', () => a.broadcast(LARGE))
    await call('send()', () => a.send(id, LARGE))
    stream.resume()
    await answered([stream], 2 * LARGE.length)
    await call('closeConnection()', () => a.closeConnection(id))

    // A peer that reads too slowly: send() closes its connection.
    const [slow] = await dials(a, 1)
    slow.write(request('/stream'))
    await answered([slow], 1)
    await until('a slow stream', () => a.stats().parked === 5)
    slow.pause()
    const late = [...known.values()].at(-1).id
    while (await call('send()', () => a.send(late, LARGE))) await sleep(1)
    await until('closed', () => a.stats().closed.slow === 1)
    slow.destroy()
  }
  await call('closeConnection()', () => a.closeConnection(fourth))
  await call('close() of a connection', () => known.get(`A ${third}`).close())
  await call('end() of a connection', () => known.get(`A ${first}`).end())
  peers[4].end()
  if (isTls) peers[5].destroy()
  else peers[5].resetAndDestroy()
  await until('gone', () => b.stats().parked + b.stats().awake === 2)

  // Awake, and closed by others.
  say(peers[6])
  await sleep(1)
  await call('closeAllConnections()', () => b.closeAllConnections())
  await call('closeAllConnections()', () => a.closeAllConnections())
  await until('all gone', () => [a, b].every((server) => server.stats().parked + server.stats().awake === 0))

  // Refused.
  a.maxConnections = 1
  const [one] = await dials(a, 1, isTls)
  say(one)
  await answered([one], 1)
  const refused = [net.connect(a.address().port, '127.0.0.1'), net.connect(a.address().port, '127.0.0.1')]
  await Promise.all(refused.map((peer) => new Promise((resolve) => peer.on('error', () => {}).on('close', resolve))))
  a.maxConnections = undefined

  // Timeouts, upgrades, errors.
  if (isHttp && !isTls) {
    b.keepAliveTimeout = 20
    b.headersTimeout = 20
    b.requestTimeout = 20
    const late = await dials(b, 2)
    late[0].write(request('/'))
    const wrong = await dials(b, 2)
    wrong[0].write('nonsense\r\n\r\n')
    wrong[1].write(request('/', 'Connection: Upgrade\r\nUpgrade: x\r\n'))
    await until('all timed out', () => b.stats().parked + b.stats().awake === 0)
  }
  if (isTls) {
    const wrong = net.connect(b.address().port, '127.0.0.1', () => wrong.write('nonsense\r\n\r\n'))
    await new Promise((resolve) => wrong.on('error', () => {}).on('close', resolve))
  }

  // The last connection ends after close().
  const closed = [a, b].map((server) => new Promise((resolve) => server.once('close', resolve)))
  const last = await dials(b, 1, isTls)
  say(last[0])
  await answered(last, 1)
  if (sleeps) await until('asleep', () => b.stats().parked === 1)
  await call('close()', () => a.close())
  await call('closeAllConnections()', () => a.closeAllConnections())
  await call('shutdown()', () => b.shutdown({ grace: 0 }))
  await Promise.all(closed)
  for (const peer of [...peers, one, ...last, ...refused]) peer.destroy()
  const stats = [a, b].flatMap((server) => [server.stats().parked, server.stats().awake])
  await until('sockets closed', () => sockets() <= before)
  return stats
}

/** What `web-socket-scopes.mjs` takes from here. */
const tools = { LARGE, answered, at, call, called, dials, identified, known, sockets, until }

/** Makes a callback for a method that is called by `call(name)`. It must get the stores of its caller. */
function called(name) {
  return () => {
    const store = storage.getStore()
    if (store !== `caller of ${name}`) faults.push(`callback of ${name}: ${store}`)
  }
}

/** Waits until each client has received `length` bytes. */
function answered(peers, length) {
  return until('answers', () => peers.every((peer) => peer.received >= length))
}

/** Plays every handler of listen(). */
async function playListen() {
  const before = sockets()
  let total = 0
  const make = (name) => {
    const ownerOf = ({ id }) => `${name} ${id}`
    return listen(
      { port: 0, giveBack: false },
      {
        open(connection) {
          total++
          known.set(ownerOf(connection), connection)
          identified('open', ownerOf(connection))
          at('open', ownerOf(connection))
        },
        data(connection, bytes) {
          if (String(bytes) === 'large') connection.write(LARGE)
          else connection.write(bytes)
          identified('data', ownerOf(connection))
          at('data', ownerOf(connection))
        },
        drain(connection) {
          identified('drain', ownerOf(connection))
          at('drain', ownerOf(connection))
        },
        close(connection) {
          total--
          identified('close', ownerOf(connection))
          at('close', ownerOf(connection), { mayThrow: !closing })
        }
      }
    )
  }
  let closing = false
  const [a, b] = await call('listen()', () => [make('A'), make('B')])
  const target = (listener) => ({ address: () => listener.address })
  const peers = [...(await dials(target(a), 4)), ...(await dials(target(b), 4))]
  for (const peer of peers) peer.write('x')
  await until('echoes', () => peers.every(({ received }) => received >= 1))
  for (const peer of peers) peer.pause().write('large')
  await sleep(30)
  const connections = [...known.values()]
  await call('write()', () => connections[0].write(LARGE))
  for (const peer of peers) peer.resume()
  await until('large', () => peers.every(({ received }) => received >= LARGE.length))
  await until('drained', () => connections.every(({ queued }) => queued === 0))
  await call('end()', () => connections[0].end('bye'))
  closing = true
  await call('close()', () => connections[1].close())
  closing = false
  for (const peer of peers.slice(5)) peer.end()
  peers[4].resetAndDestroy()
  await until('gone', () => b.clients === 0)
  closing = true
  const done = await call('close()', () => [a.close(), b.close()])
  await call('closeConnections()', () => a.closeConnections())
  await Promise.all(done)
  const c = await call('listen()', () => make('C'))
  await dials(target(c), 1)
  await until('accepted', () => c.clients === 1)
  await call('shutdown()', () => c.shutdown({ grace: 0 }))
  for (const peer of peers) peer.destroy()
  await until('sockets closed', () => sockets() <= before)
  return [a.clients, b.clients, total]
}

function playerOf(kind) {
  if (kind === 'listen()') return playListen
  if (kind === 'hibernate()') return () => playHibernate(tools)
  return kind === 'parkWebSockets()' ? () => playWebSockets(tools) : () => playServer(kind)
}

/** Plays a kind of server, and prints what was wrong. @param throws whether the listeners throw */
export async function play(kind, throws) {
  throwing = throws
  const left = await playerOf(kind)().catch((error) => {
    console.error(error, uncaught, faults)
    process.exit(1)
  })
  throwing = false
  await sleep(20)
  const moving = [...asyncIds].filter(([, ids]) => new Set([...ids.values()].flat()).size > 1)
  const shared = new Set([...asyncIds.values()].map((ids) => [...ids.values()][0][0]))
  console.log(
    JSON.stringify({
      faults: [...new Set(faults.map((fault) => fault.replace(/0\.\d+/, '')))].slice(0, 20),
      events: [...events].sort(),
      left,
      // Each connection has one async id of its own.
      moving: moving.map(([owner, ids]) => [owner, Object.fromEntries(ids)]).slice(0, 5),
      ids: [asyncIds.size, shared.size],
      thrown: [thrown, uncaught.length],
      // In the context of the connection that threw.
      wrongContext: uncaught.filter(([message, store]) => store !== message).slice(0, 5)
    })
  )
  process.exit()
}
