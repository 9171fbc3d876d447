/** `ebb serve --procs`, and how many clients it tells of. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const CLI = fileURLToPath(new URL('../../packages/ebb-lab/dist/cli/main.js', import.meta.url))

export class Servers {
  port = 0
  clients = 0
  /** What it told that stands for something gone wrong. */
  warnings = []
  #process
  #ended
  #wake = () => {}

  /** Starts `procs` servers; resolves when all listen. They tell of every `every` clients. */
  static async start(procs, every) {
    const servers = new Servers(procs, every)
    await servers.#until(() => servers.port > 0)
    return servers
  }

  constructor(procs, every) {
    const args = ['serve', '--port', '0', '--procs', String(procs), '--every', String(every), '--log', 'json']
    this.#process = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#ended = once(this.#process, 'exit').finally(() => this.#wake())
    createInterface(this.#process.stdout).on('line', (line) => {
      const { event, port, clients, text, pid } = JSON.parse(line)
      if (event === 'listening') this.port = port
      if (event === 'cycle') this.clients = clients
      if (event === 'warning') this.warnings.push(text)
      if (event === 'ended') this.warnings.push(`server ${pid} ended`)
      this.#wake()
    })
  }

  get pid() {
    return this.#process.pid
  }

  /** Resolves with true when it tells of `clients` clients, with false when it has not within `ms`, or was given up. */
  async tells(clients, ms, signal) {
    const late = AbortSignal.any([AbortSignal.timeout(ms), signal])
    late.addEventListener('abort', () => this.#wake())
    await this.#until(() => this.clients === clients || late.aborted)
    return this.clients === clients
  }

  async end() {
    this.#process.kill('SIGTERM')
    await this.#ended
  }

  async #until(ready) {
    while (!ready()) {
      const { exitCode, signalCode } = this.#process
      if (exitCode !== null || signalCode !== null) throw new Error(`the servers ended (${signalCode ?? exitCode})`)
      await new Promise((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
