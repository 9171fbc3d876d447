/** One size: servers, clients, and what the crowd between them costs. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { KernelMemory, ProcessTree } from 'ebb/memory'
import { available, causeOf, gigabytes, meminfo } from './limits.mjs'
import { Servers } from './servers.mjs'

/** From one look at the machine's memory to the next, ms. */
const LOOK = 100
/** The servers rest this long before the crowd comes, and the crowd once it is there, ms. */
const REST = 1500
/** For servers to accept what waits in their queues, and to tell of it, ms. */
const ACCEPTED_WITHIN = 60_000
/** Memory that has not come back within this time, ms, does not. */
const BACK_WITHIN = 20_000
/** Memory is back when it stays below rest and this share of it, or this many bytes for each process. */
const BACK = 0.05
const BACK_BYTES = 500_000

/**
 * Measures `n` connections between `procs` servers and as many clients. Memory in bytes, times in ms. `stopped`: why there are fewer.
 *
 * @throws Error when the servers end, or `signal` is given
 */
export async function measure(n, procs, reserve, signal, tell) {
  const started = []
  try {
    return await run(n, procs, reserve, signal, tell, (close) => started.push(close))
  } finally {
    for (const close of started.reverse()) await close()
  }
}

async function run(n, procs, reserve, signal, tell, cleanUp) {
  tell(`${n.toLocaleString('en-US')} connections, ${procs} ${procs === 1 ? 'server' : 'servers'}`)
  const servers = await Servers.start(procs, n)
  cleanUp(() => servers.end())
  const serving = new ProcessTree(servers.pid)
  cleanUp(() => serving.close())
  const kernel = new KernelMemory()
  cleanUp(() => kernel.close())
  await wait(REST, undefined, { signal })

  const clients = fork(
    fileURLToPath(new URL('clients.mjs', import.meta.url)),
    [JSON.stringify({ port: servers.port, n, procs })],
    { execArgv: [] }
  )
  const gone = once(clients, 'exit')
  cleanUp(async () => {
    if (clients.connected) clients.disconnect()
    await gone
  })
  const close = () => clients.connected && clients.send('close')
  signal.addEventListener('abort', close, { once: true })
  const told = eventsOf(clients)
  // All processes are there, and wait until they have been looked at: what follows is the crowd's.
  await told('pulse')
  const connecting = new ProcessTree(clients.pid)
  cleanUp(() => connecting.close())
  const rest = figures(serving, connecting, kernel)

  let stopped
  const guard = setInterval(() => {
    if (available() >= reserve) return
    stopped = `memory: less than ${gigabytes(reserve)} were left`
    clearInterval(guard)
    close()
  }, LOOK)
  cleanUp(() => clearInterval(guard))
  const { opened } = await told('connected')
  const connectedAt = performance.now()
  const { connected, failed, ms: connectMs } = opened
  signal.throwIfAborted()
  if (connected < n && stopped === undefined)
    stopped = Object.keys(failed).length > 0 ? causeOf(failed) : 'it was closed'
  // When memory ran out the crowd is on its way out already: there is nothing to look at.
  const whole = connected === n && (await servers.tells(n, ACCEPTED_WITHIN, signal))
  const acceptMs = connectMs + performance.now() - connectedAt
  if (connected === n && !whole) {
    stopped ??= `${n - servers.clients} connections were not accepted: ${servers.warnings[0] ?? 'they wait in a queue'}`
  }
  tell(`  ${connected.toLocaleString('en-US')} connected in ${(connectMs / 1000).toFixed(2)} s`)
  const after = figures(serving, connecting, kernel)
  await wait(REST, undefined, { signal })
  const hold = figures(serving, connecting, kernel)

  clearInterval(guard)
  const closeStart = performance.now()
  close()
  const empty = servers.tells(0, ACCEPTED_WITHIN, signal)
  await told('closed')
  await empty
  const closeMs = performance.now() - closeStart
  const back = await backAt(serving, rest.anonymous + Math.max(BACK * rest.anonymous, BACK_BYTES), signal)
  const endAnonymous = serving.status().anonymous
  tell(`  closed in ${(closeMs / 1000).toFixed(2)} s`)

  const cpu = (from, to) => ((to - from) * 1000) / connected
  return {
    asked: n,
    connections: connected,
    servers: procs,
    connectMs,
    acceptMs,
    connectsPerSecond: (connected / connectMs) * 1000,
    closeMs,
    /** From the last close until memory was back for good; null: not within 20 s. */
    backMs: back,
    restAnonymous: rest.anonymous,
    holdAnonymous: hold.anonymous,
    endAnonymous,
    holdProportional: hold.proportional,
    bytesEach: (hold.anonymous - rest.anonymous) / connected,
    /** Both ends: sockets, files and buffers. */
    kernel: hold.kernel - rest.kernel,
    kernelEach: (hold.kernel - rest.kernel) / connected,
    clientsAnonymous: hold.clientsAnonymous,
    /** All that the machine had less of, by connection. */
    machineBytes: Math.max(0, rest.available - hold.available) / connected,
    /** Of the servers, and of those who connect, while they do; us by connection. */
    serverCpuEach: cpu(rest.cpu, after.cpu),
    clientCpuEach: cpu(rest.clientsCpu, after.clientsCpu),
    ...(stopped !== undefined && { stopped })
  }
}

/** The events of a pulse by name, as they come; rejects when the process ends without. */
function eventsOf(child) {
  const events = new Map()
  const waiting = new Map()
  child.on('message', (event) => {
    events.set(event.event, event)
    waiting.get(event.event)?.resolve(event)
  })
  child.once('exit', (code, by) => {
    for (const { reject } of waiting.values()) reject(new Error(`the clients ended (${by ?? code})`))
  })
  return (name) => events.get(name) ?? new Promise((resolve, reject) => waiting.set(name, { resolve, reject }))
}

function figures(serving, connecting, kernel) {
  const { MemAvailable, Slab } = meminfo()
  return {
    anonymous: serving.status().anonymous,
    proportional: serving.smaps()?.proportional ?? null,
    cpu: serving.cpu(),
    clientsAnonymous: connecting.status().anonymous,
    clientsCpu: connecting.cpu(),
    kernel: Slab + kernel.read().total,
    available: MemAvailable
  }
}

/** ms until anonymous memory is below `limit` and stays there; null: not within the time there is. */
async function backAt(tree, limit, signal) {
  const start = performance.now()
  let since = null
  for (;;) {
    const now = performance.now() - start
    if (tree.status().anonymous > limit) since = null
    else since ??= now
    // Back, and it has stayed so for as long as a verdict wants to see.
    if (since !== null && now - since > 2000) return since
    if (now > BACK_WITHIN) return null
    await wait(LOOK, undefined, { signal })
  }
}
