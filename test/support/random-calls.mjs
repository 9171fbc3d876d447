/**
 * Makes random calls of parked servers and of `listen()`, with handles, values of wrong types and closed servers, for
 * tests. Arguments: a seed, and the number of calls. Prints the codes of all errors when it has survived.
 *
 * Left out is what ends plain Node with a signal, too: one handle below two sockets, `connection` events with an object
 * that is no stream, and calls of native methods with wrong types.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listen, park } from 'ebb'
import { createServer } from 'ebb/net'

// Opened first: a server may be told to listen on their descriptors.
const output = [process.stdin, process.stdout, process.stderr]

const [seed, calls] = process.argv.slice(-2).map(Number)
let state = (seed * 2654435761) >>> 0 || 1
const below = (limit) => {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  state >>>= 0
  return state % limit
}
const pick = (list) => list[below(list.length)]
const does = (...functions) => pick(functions)()

const codes = {}
const note = (error) => {
  const code = error?.code ?? error?.name ?? String(error)
  codes[code] = (codes[code] ?? 0) + 1
}
process
  .on('uncaughtException', note)
  .on('unhandledRejection', note)
  .on('warning', () => {})

const home = mkdtempSync(join(tmpdir(), 'ebb-random-'))
const [servers, sockets, peers, connections, responses, handles, listeners] = [[], [], [], [], [], [], []]

const JUNK = [undefined, null, true, 0, -1, 1.5, Number.NaN, Infinity, 2 ** 31, 2 ** 32, '', 'x', '0', {}, [], () => {}]
JUNK.push(Symbol('x'), 5n, Buffer.from('abc'), new Uint32Array(2), Object.create(null), new Proxy({}, {}))
const junk = () => pick(JUNK)
const any = () =>
  does(
    junk,
    () => pick(servers),
    () => pick(handles),
    () => pick(servers)?._handle,
    () => pick(connections),
    () => pick(connections)?.id
  )

function accept(socket, connection) {
  sockets.push(socket.on('error', note))
  if (connection !== undefined) connections.push(connection)
  if (below(3) > 0) socket.on('data', (bytes) => socket.write(bytes))
}
function respond(_, response) {
  responses.push(response)
  if (below(3) > 0) response.end('hello')
}
const idle = () => pick([5, 20, false])
const make = () =>
  does(
    () => park(net.createServer(accept), { idle: idle(), first: pick(['client', 'server']) }),
    () => createServer({ idle: idle() }, accept),
    () => park(http.createServer(respond), { idle: idle() }).on('connection', accept),
    () => park(http2.createServer(respond)),
    () => net.createServer(accept)
  )

const where = () =>
  does(
    () => [0],
    () => [{ port: 0, reusePort: true }],
    () => [{ path: join(home, String(below(6))) }],
    () => [{ path: `\0ebb-random-${process.pid}-${below(4)}` }],
    () => [pick(servers)],
    () => [pick(handles)],
    () => [{ _handle: pick(handles) }],
    () => [{ handle: pick(handles) }],
    () => [{ fd: pick(servers)?._handle?.fd }],
    () => [{ fd: pick(handles)?.fd }],
    () => [any()],
    () => [any(), any()],
    () => [0, '127.0.0.1', any()],
    () => [{ port: any(), host: '127.0.0.1' }],
    () => [{ path: any() }],
    () => [{ fd: any() }],
    () => [{ port: 0, backlog: any(), exclusive: any(), ipv6Only: any() }]
  )

function connect() {
  const address = pick(servers.filter(({ listening }) => listening))?.address()
  if (!address) return
  const peer = net.connect(typeof address === 'string' ? { path: address } : { port: address.port, host: '127.0.0.1' })
  peers.push(peer.on('error', note).resume())
  if (below(4) > 0) peer.write(pick(['x', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\n\r\n', '\r\n']))
}

const onSocket = (socket) =>
  does(
    () => socket?.destroy(),
    () => socket?.end('bye'),
    () => socket?.resetAndDestroy?.(),
    () => socket?.pause(),
    () => socket?.resume(),
    () => socket?.setTimeout(below(30)),
    () => socket?.unref?.(),
    () => socket?.ref?.(),
    () => socket?.setKeepAlive?.(junk(), junk()),
    () => socket?.setNoDelay?.(junk()),
    () => socket?.destroySoon?.(),
    () => socket?.write(junk()),
    () => socket?._handle?.close()
  )

const onParked = (server) =>
  does(
    () => server?.send?.(any(), any()),
    () => server?.send?.(pick(connections)?.id, Buffer.alloc(2_000_000)),
    () => server?.broadcast?.(any(), any()),
    () => server?.broadcast?.(Buffer.alloc(100_000), () => below(2) > 0),
    () => server?.closeConnection?.(any()),
    () => server?.stream?.(any()),
    () => server?.stream?.(pick(responses)),
    () => server?.queued?.(any()),
    () => server?.connection?.(any()),
    () => server?.closeAllConnections?.(),
    () => server?.shutdown?.(any()),
    () => server?.shutdown?.({ grace: below(20) }),
    () => park(server, any()),
    () => park(any(), any())
  )

const onConnection = (connection) =>
  does(
    () => connection?.park(),
    () => connection?.close(),
    () => connection?.reset?.(),
    () => connection?.send(any()),
    () => connection?.end(),
    () => Object.assign(connection ?? {}, { attachment: any() }),
    () => connection?.attachment,
    () => connection?.queued
  )

function listenDirectly() {
  const options = does(
    () => ({ port: 0 }),
    () => ({ path: join(home, `direct${below(4)}`) }),
    any,
    () => ({ port: any(), host: any() }),
    () => ({ path: any() }),
    () => ({ port: 0, backlog: any() })
  )
  listeners.push(listen(options, pick([{ data: (connection, bytes) => connection.write(bytes) }, any()])))
}

function onListener(listener) {
  if (listener === undefined) return
  const name = pick(Object.getOwnPropertyNames(Object.getPrototypeOf(listener)))
  if (typeof listener[name] === 'function' && name !== 'constructor') return listener[name](any(), any())
}

const CALLS = [
  () => servers.push(make().on('error', note)) && servers.at(-1).listen(...where()),
  () => pick(servers)?.listen(...where()),
  () => pick(servers)?.listen(0, '127.0.0.1'),
  () => pick(servers)?.close(pick([undefined, () => {}])),
  () => handles.push(...[pick(servers)?._handle].filter(Boolean)),
  () => pick(handles)?.close(...pick([[], [() => {}]])),
  () => pick(handles)?.listen?.(below(600)),
  () => pick(handles)?.[pick(['ref', 'unref', 'hasRef'])]?.(),
  () => pick(servers)?.[pick(['ref', 'unref', 'address'])](),
  () => Object.assign(pick(servers) ?? {}, { maxConnections: pick([undefined, null, 0, 1, 100]) }),
  () => new net.Socket({ fd: pick(servers)?._handle?.fd }),
  connect,
  connect,
  connect,
  () => pick(peers)?.write(pick(['x', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', Buffer.alloc(70_000)])),
  () => pick(peers)?.[pick(['destroy', 'end', 'pause', 'resume', 'resetAndDestroy'])](),
  () => onSocket(pick(sockets)),
  () => onParked(pick(servers)),
  () => onParked(pick(servers)),
  () => onConnection(pick(connections)),
  listenDirectly,
  () => onListener(pick(listeners)),
  () => new Promise((resolve) => setTimeout(resolve, below(10)))
]

for (let i = 0; i < calls; i++) {
  try {
    const result = pick(CALLS)()
    if (result instanceof Promise && below(2) === 0) await Promise.race([result, new Promise((r) => setTimeout(r, 10))])
  } catch (error) {
    note(error)
  }
}
process.removeAllListeners('uncaughtException')
output[1].write(`${JSON.stringify(codes)}\n`)
rmSync(home, { recursive: true, force: true })
process.exit()
