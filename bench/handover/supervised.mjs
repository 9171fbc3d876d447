/** A server under `ebb run`, which leaves no channel to the benchmark: HTTP requests ask it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** @import { ParkStats } from 'ebb' */
/** @import { ServerOptions } from './members.mjs' */

/** Where the servers of the programs listen. */
const HOST = '127.0.0.1'
const RUN = fileURLToPath(new URL('programs/run.mjs', import.meta.url))
const SERVER = fileURLToPath(new URL('programs/server.mjs', import.meta.url))
/** Milliseconds between two questions, and after which a server that does not answer counts as failed. */
const POLL = 50
const TIMEOUT = 60_000

/**
 * What the server answers.
 *
 * @typedef {object} Figures
 * @property {number} pid
 * @property {number} cpu its CPU time so far, in ms
 * @property {ParkStats} stats
 */

/** `ebb run`, with or without `--keep`, and its server. */
export class Supervised {
  /** Port of the server. */
  port
  /** @type {import('node:child_process').ChildProcess} */
  #run

  /**
   * @param {number} port
   * @param {boolean} keep
   * @param {number} idle milliseconds until an idle connection is parked
   */
  constructor(port, keep, idle) {
    this.port = port
    /** @type {ServerOptions} */
    const options = { mode: 'ebb', port, idle, grace: 1000 }
    const how = keep ? ['--keep'] : ['--handover']
    const command = [RUN, ...how, '--', process.execPath, SERVER, JSON.stringify(options)]
    this.#run = spawn(process.execPath, command, { stdio: ['ignore', 'ignore', 'ignore'] })
  }

  /**
   * Starts `ebb run` and waits until its server answers.
   *
   * @param {boolean} keep
   * @param {number} idle
   */
  static async start(keep, idle) {
    const supervised = new Supervised(await freePort(), keep, idle)
    await supervised.until(() => true)
    return supervised
  }

  /** Process id of `ebb run`, which is the keeper. */
  get keeper() {
    return this.#run.pid ?? 0
  }

  /** @returns {Promise<Figures>} */
  async figures() {
    const response = await fetch(`http://${HOST}:${this.port}/figures`, { headers: { connection: 'close' } })
    return /** @type {Figures} */ (await response.json())
  }

  /**
   * Asks until the figures satisfy the condition.
   *
   * @param {(figures: Figures) => boolean} condition
   */
  async until(condition) {
    const start = performance.now()
    for (;;) {
      try {
        const figures = await this.figures()
        if (condition(figures)) return figures
      } catch (error) {
        if (performance.now() - start > TIMEOUT) throw error
      }
      if (performance.now() - start > TIMEOUT) throw new Error(`a server under ebb run did not get ready in 60 s`)
      await wait(POLL)
    }
  }

  async end() {
    const exit = once(this.#run, 'exit')
    this.#run.kill('SIGTERM')
    await exit
  }
}

/** Returns a port that nobody listens at. */
async function freePort() {
  const server = createServer().listen(0, HOST)
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
