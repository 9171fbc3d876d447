/** How much memory clients take that hold WebSockets and ping. */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { clientOptions, crowdOf, processesFor, targetOf } from 'ebb-lab/testing'

/** Milliseconds between two pings, and how long the crowd is held. */
const PING = 3000
const HOLD = 7000

/**
 * Holds `n` pinging WebSockets. Resolves with the most anonymous memory (bytes) of the client processes over their
 * rest, in all, and with what the crowd did.
 *
 * @param {number} port
 * @param {number} n
 */
export async function pinging(port, n) {
  const target = targetOf(`ws://127.0.0.1:${port}/`)
  const others = new Set(children())
  const options = clientOptions(target, { ping: PING })
  const processes = processesFor(n)
  const address = { host: '127.0.0.1', port }
  const crowd = await crowdOf({ address, sources: [], ...options, part: { index: 0, of: 1 } }, processes, true)
  try {
    const own = children().filter((pid) => !others.has(pid))
    // The first connections load what every run needs.
    await crowd.connect(10 * processes)
    await wait(1000)
    await crowd.close()
    const rest = anonymousOf(own)
    let most = rest
    const sampling = setInterval(() => {
      most = Math.max(most, anonymousOf(own))
    }, 100)
    const { connected, failed, ms } = await crowd.connect(n)
    await wait(HOLD)
    clearInterval(sampling)
    const { pings, pongs } = await crowd.takeTraffic()
    return { connected, failed, ms, pings, pongs, processes, aboveRest: most - rest }
  } finally {
    await crowd.close()
    await crowd.dispose()
  }
}

/** Returns the ids of the child processes of this one. */
function children() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => field(`/proc/${pid}/status`, 'PPid') === process.pid)
}

/** @param {readonly number[]} pids */
function anonymousOf(pids) {
  return pids.reduce((sum, pid) => sum + 1024 * field(`/proc/${pid}/status`, 'RssAnon'), 0)
}

/** @param {string} path @param {string} name */
function field(path, name) {
  try {
    return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(path, 'latin1'))?.[1] ?? 0)
  } catch {
    // The process has ended.
    return 0
  }
}
