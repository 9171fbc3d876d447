/** Runs `ebb serve --procs` and follows its log. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { CLI_PATH } from 'ebb-lab/testing'

/**
 * A line of the log, as far as it is used here.
 *
 * @typedef {object} LogLine
 * @property {string} event
 * @property {number} port of `listening`
 * @property {number} clients of `cycle`
 * @property {string} text of `warning`
 * @property {number} pid of `ended`
 */

export class Servers {
  port = 0
  /** Connections that the servers hold, by their last report. */
  clients = 0
  /**
   * Warnings of the servers, and servers that ended.
   *
   * @type {string[]}
   */
  warnings = []
  #process
  #ended
  #notify = () => {}

  /**
   * Starts the servers and resolves when all of them listen.
   *
   * @param {number} procs
   * @param {number} every the servers report each time that this many clients have connected
   */
  static async start(procs, every) {
    const servers = new Servers(procs, every)
    await servers.#until(() => servers.port > 0)
    return servers
  }

  /**
   * @param {number} procs
   * @param {number} every
   */
  constructor(procs, every) {
    const args = ['serve', '--port', '0', '--procs', String(procs), '--every', String(every), '--log', 'json']
    this.#process = spawn(process.execPath, [CLI_PATH, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#ended = once(this.#process, 'exit').finally(() => this.#notify())
    createInterface(this.#process.stdout).on('line', (line) => {
      const { event, port, clients, text, pid } = /** @type {LogLine} */ (JSON.parse(line))
      if (event === 'listening') this.port = port
      if (event === 'cycle') this.clients = clients
      if (event === 'warning') this.warnings.push(text)
      if (event === 'ended') this.warnings.push(`server ${pid} ended`)
      this.#notify()
    })
  }

  get pid() {
    const { pid } = this.#process
    if (pid === undefined) throw new Error('ebb serve could not be started')
    return pid
  }

  /**
   * Waits until the servers report this number of clients. Resolves with false after `ms`, or when the signal aborts.
   *
   * @param {number} clients
   * @param {number} ms
   * @param {AbortSignal} signal
   */
  async hold(clients, ms, signal) {
    const late = AbortSignal.any([AbortSignal.timeout(ms), signal])
    late.addEventListener('abort', () => this.#notify())
    await this.#until(() => this.clients === clients || late.aborted)
    return this.clients === clients
  }

  async end() {
    this.#process.kill('SIGTERM')
    await this.#ended
  }

  /** @param {() => boolean} condition */
  async #until(condition) {
    while (!condition()) {
      const { exitCode, signalCode } = this.#process
      if (exitCode !== null || signalCode !== null) throw new Error(`the servers ended (${signalCode ?? exitCode})`)
      /** @type {Promise<void>} */
      const changed = new Promise((resolve) => {
        this.#notify = resolve
      })
      await changed
    }
  }
}
