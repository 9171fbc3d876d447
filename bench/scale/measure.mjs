/** Measures one size: starts servers and clients, and finds out what the connections between them cost. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { KernelMemory, ProcessTree } from 'ebb/memory'
import { available, causeOf, gigabytes, meminfo } from './limits.mjs'
import { Servers } from './servers.mjs'

/** @import { ChildProcess } from 'node:child_process' */
/** @import { PulseEvent } from 'ebb-lab' */

/** Milliseconds between two samples of the machine's memory. */
const SAMPLE_INTERVAL = 100
/** Milliseconds that the servers rest before the crowd connects, and that the crowd rests before it is measured. */
const REST = 1500
/** Milliseconds until the servers must have accepted the connections in their backlogs, and reported them. */
const ACCEPT_TIMEOUT = 60_000
/** Milliseconds until memory must be back. */
const RELEASE_TIMEOUT = 20_000
/** Milliseconds for which memory must stay back to count as back. */
const STAYS = 2000
/** Memory has come back when it is within this share of rest, or within this many bytes if that is more. */
const TOLERANCE = 0.05
const TOLERANCE_BYTES = 500_000

/**
 * The figures of a size. Memory in bytes, times in ms, CPU times in us.
 *
 * @typedef {object} Row
 * @property {number} asked connections that were planned
 * @property {number} connections connections that were made
 * @property {number} servers
 * @property {number} connectMs
 * @property {number} acceptMs
 * @property {number} connectsPerSecond
 * @property {number} closeMs
 * @property {number | null} backMs from the last close until memory is back for good; null if not within 20 s
 * @property {number} restAnonymous
 * @property {number} holdAnonymous
 * @property {number} endAnonymous
 * @property {number | null} holdProportional
 * @property {number} bytesEach
 * @property {number} kernel both ends: sockets, files and buffers
 * @property {number} kernelEach
 * @property {number} clientsAnonymous
 * @property {number} machineBytes memory that a connection takes of the whole machine
 * @property {number} serverCpuEach CPU time of the servers per connection while the crowd connects
 * @property {number} clientCpuEach CPU time of the clients per connection while the crowd connects
 * @property {string} [stopped] why there are fewer connections than planned
 */

/**
 * What a measurement needs to know.
 *
 * @typedef {object} Size
 * @property {number} n connections
 * @property {number} procs servers, and as many clients
 * @property {number} reserve memory to leave free, bytes
 * @property {AbortSignal} signal ends the measurement
 * @property {(text: string) => void} log
 */

/**
 * Measures a size. Rejects if the servers end or the signal aborts.
 *
 * @param {Size} size
 * @returns {Promise<Row>}
 */
export async function measure(size) {
  /** @type {(() => unknown)[]} */
  const cleanups = []
  try {
    return await run(size, (cleanup) => cleanups.push(cleanup))
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup()
  }
}

/**
 * What all steps of a run need.
 *
 * @typedef {object} Context
 * @property {Size} size
 * @property {Servers} servers
 * @property {Clients} clients
 * @property {ProcessTree} serving the servers and their supervisor
 * @property {() => ReturnType<typeof sampleOf>} sample samples the machine now
 */

/**
 * The result of opening the connections.
 *
 * @typedef {object} Connected
 * @property {number} connections
 * @property {number} connectMs
 * @property {number} acceptMs
 * @property {string | undefined} stopped why there are fewer connections than planned
 */

/**
 * Starts servers and clients, opens and closes the connections, and returns the figures.
 *
 * @param {Size} size
 * @param {(cleanup: () => unknown) => void} defer calls `cleanup` after the run
 * @returns {Promise<Row>}
 */
async function run(size, defer) {
  const { n, procs, signal, log } = size
  log(`${n.toLocaleString('en-US')} connections, ${procs} ${procs === 1 ? 'server' : 'servers'}`)
  const servers = await Servers.start(procs, n)
  defer(() => servers.end())
  const serving = new ProcessTree(servers.pid)
  defer(() => serving.close())
  const kernel = new KernelMemory()
  defer(() => kernel.close())
  await wait(REST, undefined, { signal })

  const clients = new Clients(servers.port, n, procs)
  defer(() => clients.end())
  signal.addEventListener('abort', () => clients.close(), { once: true })
  // All client processes exist and wait half a second before they connect, so this is the state at rest.
  await clients.event('pulse')
  const connecting = new ProcessTree(clients.pid)
  defer(() => connecting.close())
  /** @type {Context} */
  const context = { size, servers, clients, serving, sample: () => sampleOf(serving, connecting, kernel) }
  const rest = context.sample()

  const guard = new MemoryGuard(size.reserve, () => clients.close())
  defer(() => guard.end())
  const connected = await connect(context, guard)
  const after = context.sample()
  await wait(REST, undefined, { signal })
  const hold = context.sample()
  guard.end()

  const closed = await close(context, rest.anonymous)
  const stopped = connected.stopped ?? guard.stopped
  return rowOf(size, { ...connected, stopped }, closed, { rest, after, hold })
}

/**
 * Waits until the clients have connected and the servers have accepted.
 *
 * @param {Context} context
 * @param {MemoryGuard} guard
 * @returns {Promise<Connected>}
 */
async function connect({ size: { n, signal, log }, servers, clients }, guard) {
  const { opened } = await clients.event('connected')
  const connectedAt = performance.now()
  const { connected, failed, ms: connectMs } = opened
  signal.throwIfAborted()
  let { stopped } = guard
  if (connected < n && stopped === undefined) {
    stopped = Object.keys(failed).length > 0 ? causeOf(failed) : 'the crowd was closed'
  }
  // If connections are missing, the crowd may be closing already, so the servers' report is not awaited.
  const areAccepted = connected === n && (await servers.hold(n, ACCEPT_TIMEOUT, signal))
  const acceptMs = connectMs + performance.now() - connectedAt
  if (connected === n && !areAccepted) {
    const waiting = n - servers.clients
    stopped ??= guard.stopped
    stopped ??= `${waiting} connections were not accepted: ${servers.warnings[0] ?? 'they wait in a backlog'}`
  }
  log(`  ${connected.toLocaleString('en-US')} connected in ${(connectMs / 1000).toFixed(2)} s`)
  return { connections: connected, connectMs, acceptMs, stopped }
}

/**
 * Closes the connections and waits until memory is back.
 *
 * @param {Context} context
 * @param {number} restAnonymous anonymous memory of the servers at rest, bytes
 */
async function close({ size: { signal, log }, servers, clients, serving }, restAnonymous) {
  const closeStart = performance.now()
  clients.close()
  const empty = servers.hold(0, ACCEPT_TIMEOUT, signal)
  await clients.event('closed')
  await empty
  const closeMs = performance.now() - closeStart
  const limit = restAnonymous + Math.max(TOLERANCE * restAnonymous, TOLERANCE_BYTES)
  const backMs = await timeUntilBack(serving, limit, signal)
  const endAnonymous = serving.status().anonymous
  log(`  closed in ${(closeMs / 1000).toFixed(2)} s`)
  return { closeMs, backMs, endAnonymous }
}

/**
 * Computes the figures.
 *
 * @param {Size} size
 * @param {Connected} connected
 * @param {Pick<Row, 'closeMs' | 'backMs' | 'endAnonymous'>} closed
 * @param {Record<'rest' | 'after' | 'hold', ReturnType<typeof sampleOf>>} samples at rest, once all clients have
 *   connected, and while they hold their connections
 * @returns {Row}
 */
function rowOf({ n, procs }, { connections, connectMs, acceptMs, stopped }, closed, { rest, after, hold }) {
  const cpuEach = (/** @type {number} */ from, /** @type {number} */ to) => ((to - from) * 1000) / connections
  return {
    asked: n,
    connections,
    servers: procs,
    connectMs,
    acceptMs,
    connectsPerSecond: (connections / connectMs) * 1000,
    ...closed,
    restAnonymous: rest.anonymous,
    holdAnonymous: hold.anonymous,
    holdProportional: hold.proportional,
    bytesEach: (hold.anonymous - rest.anonymous) / connections,
    kernel: hold.kernel - rest.kernel,
    kernelEach: (hold.kernel - rest.kernel) / connections,
    clientsAnonymous: hold.clientsAnonymous,
    machineBytes: Math.max(0, rest.available - hold.available) / connections,
    serverCpuEach: cpuEach(rest.cpu, after.cpu),
    clientCpuEach: cpuEach(rest.clientsCpu, after.clientsCpu),
    ...(stopped !== undefined && { stopped })
  }
}

/** Watches the free memory of the machine, and stops a run if less than the reserve is free. */
class MemoryGuard {
  /**
   * Why the run was stopped; undefined if it was not.
   *
   * @type {string | undefined}
   */
  stopped
  #timer

  /**
   * @param {number} reserve bytes
   * @param {() => void} stop
   */
  constructor(reserve, stop) {
    this.#timer = setInterval(() => {
      if (available() >= reserve) return
      this.stopped = `memory: less than ${gigabytes(reserve)} were free`
      this.end()
      stop()
    }, SAMPLE_INTERVAL)
  }

  /** Stops watching. */
  end() {
    clearInterval(this.#timer)
  }
}

/** The process of `clients.mjs`. */
class Clients {
  /** @type {ChildProcess} */
  #process
  #exit
  /** @type {Map<string, PulseEvent>} */
  #events = new Map()
  /** @type {Map<string, { resolve: (event: PulseEvent) => void, reject: (error: Error) => void }>} */
  #waiting = new Map()

  /**
   * @param {number} port
   * @param {number} n
   * @param {number} procs
   */
  constructor(port, n, procs) {
    const program = fileURLToPath(new URL('clients.mjs', import.meta.url))
    this.#process = fork(program, [JSON.stringify({ port, n, procs })], { execArgv: [] })
    this.#exit = once(this.#process, 'exit')
    this.#process.on('message', (message) => {
      const event = /** @type {PulseEvent} */ (message)
      this.#events.set(event.event, event)
      this.#waiting.get(event.event)?.resolve(event)
    })
    this.#process.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the clients ended (${signal ?? code})`))
    })
  }

  get pid() {
    const { pid } = this.#process
    if (pid === undefined) throw new Error('the clients could not be started')
    return pid
  }

  /**
   * Resolves with the event of this name as soon as the clients have sent it. Rejects if they end before.
   *
   * @template {PulseEvent['event']} N
   * @param {N} name
   * @returns {Promise<Extract<PulseEvent, { event: N }>>}
   */
  async event(name) {
    /** @type {PulseEvent} */
    const event =
      this.#events.get(name) ?? (await new Promise((resolve, reject) => this.#waiting.set(name, { resolve, reject })))
    return /** @type {Extract<PulseEvent, { event: N }>} */ (event)
  }

  /** Has the clients close their connections. */
  close() {
    if (this.#process.connected) this.#process.send('close')
  }

  async end() {
    if (this.#process.connected) this.#process.disconnect()
    await this.#exit
  }
}

/**
 * @param {ProcessTree} serving
 * @param {ProcessTree} connecting
 * @param {KernelMemory} kernel
 */
function sampleOf(serving, connecting, kernel) {
  return {
    anonymous: serving.status().anonymous,
    proportional: serving.smaps()?.proportional ?? null,
    cpu: serving.cpu(),
    clientsAnonymous: connecting.status().anonymous,
    clientsCpu: connecting.cpu(),
    kernel: meminfo('Slab') + kernel.read().total,
    available: available()
  }
}

/**
 * Resolves with the time in ms until anonymous memory is at most `limit` and stays there, or with null after 20 s.
 *
 * @param {ProcessTree} tree
 * @param {number} limit bytes
 * @param {AbortSignal} signal
 */
async function timeUntilBack(tree, limit, signal) {
  const start = performance.now()
  /** @type {number | null} */
  let since = null
  for (;;) {
    const now = performance.now() - start
    if (tree.status().anonymous > limit) since = null
    else since ??= now
    if (since !== null && now - since > STAYS) return since
    if (now > RELEASE_TIMEOUT) return null
    await wait(SAMPLE_INTERVAL, undefined, { signal })
  }
}
