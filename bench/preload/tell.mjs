/** What a measured program tells. It does not load ebb until its start has been measured. */
import { readFileSync } from 'node:fs'

/** @import { Server } from 'node:net' */

/**
 * What a program has taken until it listens.
 *
 * @typedef {object} Start
 * @property {number} cpu ms
 * @property {number} anonymous bytes
 * @property {number} modules those of Node, which `process.moduleLoadList` names
 */

/**
 * Prints what the start has taken, and ends the process; with an IPC channel, carries out orders.
 *
 * @param {Server} server listens
 */
export async function tell(server) {
  if (process.channel) {
    const { report } = await import('../harness/serve.mjs')
    const address = server.address()
    if (address !== null && typeof address === 'object') report(address.port)
    return
  }
  const { user, system } = process.cpuUsage()
  const [, kilobytes = 0] = /^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  const { moduleLoadList } = /** @type {{ moduleLoadList: string[] }} */ (/** @type {unknown} */ (process))
  /** @type {Start} */
  const start = {
    cpu: (user + system) / 1000,
    anonymous: Number(kilobytes) * 1024,
    modules: moduleLoadList.length
  }
  process.stdout.write(`${JSON.stringify(start)}\n`, () => process.exit(0))
}
