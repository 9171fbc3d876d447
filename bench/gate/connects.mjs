/** CPU time of `ebb serve` for a connection that comes and goes, beside a C server and plain `node:net`. */
import { readdirSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { closeDescriptor, connectBlocking, SocketAddress } from 'ebb/sys'
import { start } from 'ebb-lab'
import { cpuOf } from '../harness/cpu.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { decide, Limit } from '../harness/limit.mjs'
import { C, ebbServe, nodeNet } from '../harness/servers.mjs'

/** @import { Running } from 'ebb-lab' */

/** Connections of a round. */
const CONNECTIONS = 2000
/** Rounds that are not counted, because the code is compiled in them. */
const WARM_UP = 3
/** Milliseconds between two looks at the descriptors of a server. */
const POLL = 2
/** Milliseconds after which a server counts as hung. */
const TIMEOUT = 30_000

/** @typedef {'C' | 'ebb' | 'net'} Name */

/**
 * Returns the limits, decided. Every server runs all the time, so what it does between its turns counts too.
 */
export async function connects() {
  const limits = {
    C: new Limit({ name: 'CPU of connect and close, ebb / C', usual: 1.17 }),
    net: new Limit({ name: 'CPU of connect and close, ebb / net', usual: 0.5 })
  }
  /** @type {{ name: Name, server: Running, cpu: number }[]} */
  const sides = []
  const commands = { C: C.command, ebb: ebbServe(process.execPath), net: nodeNet(process.execPath) }
  try {
    for (const name of /** @type {Name[]} */ (Object.keys(commands))) {
      sides.push({ name, server: await start(commands[name]), cpu: 0 })
    }
    const round = async (/** @type {number} */ index) => {
      const used = { C: Number.NaN, ebb: Number.NaN, net: Number.NaN }
      for (const side of orderOfRound(sides, index)) {
        await comeAndGo(side.server)
        const cpu = cpuOf(side.server.pid)
        used[side.name] = cpu - side.cpu
        side.cpu = cpu
      }
      return { C: used.ebb / used.C, net: used.ebb / used.net }
    }
    for (let index = 0; index < WARM_UP; index++) await round(index)
    await decide(limits, round)
  } finally {
    for (const { server } of sides) await server.launched?.stop()
  }
  return Object.values(limits)
}

/**
 * Connects, and closes when the server has accepted all; resolves when the server has closed all.
 *
 * @param {Running} server
 */
async function comeAndGo({ pid, host, port }) {
  const address = new SocketAddress({ host, port })
  const before = descriptors(pid)
  const fds = whileStopped(pid, () => Array.from({ length: CONNECTIONS }, () => connectBlocking(address)))
  await until(() => descriptors(pid) >= before + CONNECTIONS)
  whileStopped(pid, () => fds.forEach(closeDescriptor))
  await until(() => descriptors(pid) <= before)
}

/**
 * Calls `work` while a process is stopped. The process finds all of it at once when it goes on. Otherwise a server that
 * is fast would get connections one by one, and a slow or hindered server many in a batch, which is less work.
 *
 * @template R
 * @param {number} pid
 * @param {() => R} work
 */
function whileStopped(pid, work) {
  process.kill(pid, 'SIGSTOP')
  try {
    return work()
  } finally {
    process.kill(pid, 'SIGCONT')
  }
}

/** @param {() => boolean} condition */
async function until(condition) {
  const start = performance.now()
  while (!condition()) {
    if (performance.now() - start > TIMEOUT) throw new Error(`a server did not take or close connections in 30 s`)
    await wait(POLL)
  }
}

/** @param {number} pid */
function descriptors(pid) {
  return readdirSync(`/proc/${pid}/fd`).length
}
