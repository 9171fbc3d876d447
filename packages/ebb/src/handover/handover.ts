/** `handover()`: takes over from the process that has the servers now, and waits for the next one. */
import type { Cluster } from 'node:cluster'
import fs from 'node:fs'
import type { ListenOptions, Server } from 'node:net'
import { resolve } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { type Listener, startListening } from '../listen/listen.js'
import { EpollListener } from '../listen/listener.js'
import type { Parked } from '../park/park.js'
import { knownParking } from '../park/parking-of.js'
import { SOCKET_OPTIONS, type SocketOptions } from '../socket/listening-socket.js'
import { checkObject } from '../sys/arguments.js'
import { type Channel, connectChannel, LONGEST_CHANNEL_PATH, listenForChannels } from '../sys/channel.js'
import { milliseconds } from '../sys/duration.js'
import { EbbError, invalidArgument, type SystemError, shown } from '../sys/errors.js'
import { notify } from '../sys/notify.js'
import { warnOfUnknown } from '../sys/unknown.js'
import type { Arriving } from './arriving.js'
import { Giver } from './giver.js'
import { Keeping } from './keeping.js'
import { ListenerServer } from './listener-server.js'
import type { Movable, Patience } from './movable.js'
import { ParkedServer } from './parked-server.js'
import { type From, type Taken, Taker } from './taker.js'

/** Options of {@link handover}. */
export interface HandoverOptions {
  /**
   * Path of the handover socket, the same in all processes that follow each other: in a folder that only this user can
   * write to. Processes of other users cannot connect to it. Default: `EBB_HANDOVER`, which `ebb run --handover` sets.
   */
  path?: string
  /**
   * Where to listen if there is no process to take over from: what `server.listen()` takes as an object, or for a
   * listener, a port or a path and options of its socket as of `listen()`. With several servers, a list or an object of
   * them, like `servers`.
   */
  listen: Where | readonly Where[] | Readonly<Record<string, Where>>
  /**
   * How long connections that are not at rest may go on in the process that hands over: milliseconds, or a string with
   * a unit. Connections that come to rest by then follow; the others are closed. Default: `'30s'`.
   */
  grace?: number | string
  /**
   * How long the process that hands over may be blocked, and how long it waits for each message of the successor before
   * it is blocked. After this time, the handover fails, and that process goes on. Milliseconds, or a string with a
   * unit. Default: `'1s'`.
   */
  timeout?: number | string
}

/**
 * One server of `park()`, `ebb/net` or `createListener()`, or what `hibernate()` has returned, a list of them, or an
 * object with a name for each.
 */
export type Servers = AnyServer | readonly AnyServer[] | Readonly<Record<string, AnyServer>>
type ParkedNetServer = Server & Parked
type AnyServer = ParkedNetServer | Listener | HubOfServer
type Where = ListenOptions | SocketOptions
/** What `hibernate()` returns. */
interface HubOfServer {
  readonly server: Server
  broadcast(data: string | Uint8Array): Promise<number>
}

const OPTIONS = ['path', 'listen', 'grace', 'timeout'] as const satisfies (keyof HandoverOptions)[]
const GRACE = '30s'
const TIMEOUT = '1s'

/** Paths of the handover sockets of this process. */
const ownPaths = new Set<string>()

/**
 * Lets servers listen, so that their connections stay open when the program is started anew: the new process takes the
 * listening sockets and the connections from the old one.
 *
 * If a process listens at `path`, takes over from it: its listening sockets, with the clients that wait there, and its
 * connections that are at rest. Connections in the middle of something follow within `grace`. If there is no such
 * process, the servers listen anew. In both cases, the next process that calls this can take over from this one.
 *
 * ```ts
 * const server = park(http.createServer(app))
 * const from = await handover(server, { path: '/run/app/handover.sock', listen: { port: 8080 } })
 * console.log(from ? `took ${from.connections} connections from ${from.pid}` : 'started')
 * ```
 *
 * The process that was taken over from emits `handedOver` at each server. Its servers emit `close` when their last
 * connections are gone, and the process ends if nothing else keeps it running. If a handover fails, it goes on as
 * before, and its servers emit `handoverFailed` with the error. For listeners, handlers have these names.
 *
 * Where connections cannot be parked, the servers only listen.
 *
 * @returns the process that this one has taken over from; undefined if it has started anew
 * @throws {EbbError} `ERR_EBB_HANDOVER` if the other process keeps its servers, in a worker, and at a path that this
 *   process has already; then this process has none of the servers
 * @throws {SystemError} of `listen()`: `EADDRINUSE`, ...; of the handover socket: `EACCES`, ...; then the servers are
 *   closed, unless they came from another process
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for options that are not valid
 */
export async function handover(servers: Servers, options: HandoverOptions): Promise<From | undefined> {
  const start = performance.now()
  checkObject(options, 'options of handover()')
  warnOfUnknown(options, OPTIONS, 'handover()')
  const { EBB_HANDOVER, EBB_KEEPER } = process.env
  const { path = EBB_HANDOVER, grace = GRACE, timeout = TIMEOUT } = options
  checkPath(path)
  const patience = { grace: milliseconds(grace, 'grace'), timeout: milliseconds(timeout, 'timeout') }
  const movables = toMovables(servers, options.listen, path)
  if (movables === undefined) {
    await listenAll(servers, options.listen)
    return undefined
  }
  checkProcess()
  checkUnused(path)
  ownPaths.add(resolve(path))
  const keeping = EBB_KEEPER ? new Keeping(EBB_KEEPER, movables) : undefined
  try {
    const taken = await takeOver(movables, path, patience, start, keeping)
    try {
      wait(movables, path, patience, taken?.handoverSocket ?? -1, taken?.arriving, keeping)
    } catch (error) {
      if (taken === undefined) for (const server of movables) server.end(true)
      throw error
    }
    keeping?.listening()
    notify('READY=1')
    return taken?.from
  } catch (error) {
    ownPaths.delete(resolve(path))
    keeping?.stop()
    throw error
  }
}

/** Takes over from the process before, or from the keeper, and opens what nobody has. */
async function takeOver(
  movables: readonly Movable[],
  path: string,
  patience: Patience,
  start: number,
  keeping: Keeping | undefined
): Promise<Taken | undefined> {
  let taken = await takeFrom(path, movables, patience, start)
  const hasPredecessor = taken !== undefined
  if (!hasPredecessor && keeping !== undefined) taken = await takeFrom(keeping.path, movables, patience, start)
  // In the turn in which the connections came: nothing was read from them.
  keeping?.own(hasPredecessor ? 'process' : taken === undefined ? 'nobody' : 'keeper')
  // After that: what the program does with a connection is told to the keeper.
  taken?.announce()
  const toOpen = taken === undefined ? movables : taken.missing
  const opened: Movable[] = []
  try {
    for (const server of toOpen) {
      await server.listen()
      opened.push(server)
    }
  } catch (error) {
    for (const server of opened) server.end(true)
    throw error
  }
  if (taken !== undefined) {
    await Promise.all(movables.filter((server) => !toOpen.includes(server)).map((server) => server.listened()))
  }
  return taken
}

async function takeFrom(
  path: string,
  movables: readonly Movable[],
  patience: Patience,
  start: number
): Promise<Taken | undefined> {
  const channel = connectTo(path)
  return channel && (await new Taker(channel, movables, patience.timeout, start).run())
}

/** Waits for the next process, until all servers are closed. */
function wait(
  servers: readonly Movable[],
  path: string,
  patience: Patience,
  socket: number,
  arriving: Arriving | undefined,
  keeping: Keeping | undefined
): void {
  const listening = socket === -1 ? listenForChannels(path) : socket
  const file = inodeOf(path)
  const giver = new Giver(
    servers,
    listening,
    patience,
    () => arriving?.isOpen === true,
    () => {
      ownPaths.delete(resolve(path))
      keeping?.stop()
    }
  )
  let open = servers.length
  for (const server of servers) {
    server.onClose(() => {
      if (--open > 0 || !giver.isOpen) return
      keeping?.bye()
      giver.close()
      ownPaths.delete(resolve(path))
      // Unless another process has replaced it.
      if (file !== undefined && inodeOf(path) === file) fs.rmSync(path, { force: true })
    })
  }
}

function inodeOf(path: string): number | undefined {
  return fs.statSync(path, { throwIfNoEntry: false })?.ino
}

/** Connects to the process that listens at `path`; undefined if there is none. */
function connectTo(path: string): Channel | undefined {
  try {
    return connectChannel(path)
  } catch (error) {
    const { code } = error as SystemError
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined
    if (code === 'EPROTOTYPE') {
      throw new EbbError('ERR_EBB_HANDOVER', `the socket at ${path} is not a handover socket: use another path`, error)
    }
    if (code !== 'EAGAIN') throw error
    throw new EbbError('ERR_EBB_HANDOVER', `too many processes wait at ${path} to take over`, error)
  }
}

function checkPath(path: unknown): asserts path is string {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw invalidArgument(`path of handover() must be a path in the file system, not ${shown(path)}`)
  }
  const length = Buffer.byteLength(path)
  if (length > LONGEST_CHANNEL_PATH) {
    throw invalidArgument(`path of handover() must be at most ${LONGEST_CHANNEL_PATH} bytes long, not ${length}`)
  }
}

/** A process that took over from itself would wait for itself. */
function checkUnused(path: string): void {
  if (!ownPaths.has(resolve(path))) return
  throw new EbbError(
    'ERR_EBB_HANDOVER',
    `this process has called handover() with the path ${path} already: give all servers to one call, or use another path`
  )
}

function checkProcess(): void {
  if (!isMainThread) {
    throw new EbbError('ERR_EBB_HANDOVER', 'handover() does not work in a worker thread: call it in the main thread')
  }
  if (process.channel === undefined) return
  if ((process.getBuiltinModule('node:cluster') as unknown as Cluster).isWorker) {
    throw new EbbError(
      'ERR_EBB_HANDOVER',
      'handover() does not work in a worker of a cluster, whose sockets belong to the primary: start processes that share the port with reusePort, each with a path of its own'
    )
  }
}

/** @returns undefined where connections cannot be parked */
function toMovables(servers: Servers, listen: HandoverOptions['listen'], path: string): Movable[] | undefined {
  const named = namedServers(servers)
  const options = named.map(([name]) => listenOptions(servers, listen, name))
  for (const [at, [name, server]] of named.entries()) {
    checkServer(name, server, options[at])
    const { path: own } = options[at] as ListenOptions
    if (typeof own === 'string' && resolve(own) === resolve(path)) {
      throw invalidArgument(
        `listen of server ${name} of handover() has the path of the handover socket: use another path`
      )
    }
  }
  if (named.some(([, server]) => !(server instanceof EpollListener) && !server.supported)) return undefined
  return named.map(([name, server], at) => {
    if (server instanceof EpollListener) return new ListenerServer(name, server, options[at] as SocketOptions)
    const parking = knownParking(server)
    if (parking === undefined) throw invalidArgument(`server ${name} of handover() is not parked: call park() first`)
    return new ParkedServer(name, server, parking, options[at] as ListenOptions)
  })
}

async function listenAll(servers: Servers, listen: HandoverOptions['listen']): Promise<void> {
  for (const [name, server] of namedServers(servers)) {
    const options = listenOptions(servers, listen, name)
    if (server instanceof EpollListener) {
      startListening(server, options as SocketOptions)
      continue
    }
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(options as ListenOptions, () => {
        server.off('error', reject)
        resolve()
      })
    })
  }
}

/** Returns the servers with their names: numbers, unless they have others. */
function namedServers(servers: Servers): [name: string, server: ParkedNetServer | EpollListener][] {
  if (typeof servers !== 'object' || servers === null) throw notServers(servers)
  const list = isServer(servers) || isHub(servers) ? [servers] : servers
  const named = Object.entries(list as Record<string, ParkedNetServer | EpollListener | HubOfServer>)
  if (named.length === 0) throw notServers(servers)
  // What is no server is refused by checkServer().
  return named.map(([name, server]) => [name, (isHub(server) ? server.server : server) as ParkedNetServer])
}

function isHub(value: unknown): value is HubOfServer {
  if (typeof value !== 'object' || value === null) return false
  return 'server' in value && 'broadcast' in value && typeof value.broadcast === 'function'
}

function notServers(servers: unknown): TypeError {
  return invalidArgument(
    `handover() takes a server of park(), ebb/net or createListener(), or a list or an object of them, not ${shown(servers)}`
  )
}

function isServer(value: object): value is AnyServer {
  return value instanceof EpollListener || ('listen' in value && typeof value.listen === 'function')
}

function listenOptions(servers: Servers, listen: HandoverOptions['listen'], name: string): unknown {
  return isServer(servers) || isHub(servers) ? listen : (listen as Record<string, unknown> | null | undefined)?.[name]
}

function checkServer(name: string, server: unknown, listen: unknown): void {
  if (server instanceof EpollListener) {
    checkListener(name, server, listen)
    return
  }
  if (typeof server !== 'object' || server === null || !isServer(server) || !('supported' in server)) {
    throw invalidArgument(`server ${name} of handover() must be a parked server, not ${shown(server)}`)
  }
  checkObject(listen, `listen of server ${name} of handover()`)
  if (server.listening) {
    throw invalidArgument(`server ${name} of handover() listens already: leave its listen() to handover()`)
  }
  if (server.stats().awake + server.stats().parked > 0) {
    throw invalidArgument(`server ${name} of handover() still has connections: make a new one`)
  }
}

function checkListener(name: string, listener: EpollListener, listen: unknown): void {
  checkObject(listen, `listen of server ${name} of handover()`)
  warnOfUnknown(listen as object, Object.keys(SOCKET_OPTIONS), `listen of server ${name} of handover()`)
  if (listener.isUsed) {
    throw invalidArgument(`server ${name} of handover() listens already: make it with createListener(), not listen()`)
  }
}
