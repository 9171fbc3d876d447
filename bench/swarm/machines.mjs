/**
 * A swarm of four agents and a server, each in a network namespace that acts as a machine, with NATS between them. Each
 * pulse compares the merged report with the latencies and start times that every agent recorded itself.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CLI_PATH, LatencyHistogram } from 'ebb-lab/testing'
import { Namespaces } from './namespaces.mjs'

/** @import { ChildProcess } from 'node:child_process' */
/** @import { PulseReport } from 'ebb-lab' */
/** @import { Machine } from './namespaces.mjs' */
/** @import { Raw } from './raw.mjs' */

const RAW = fileURLToPath(new URL('./raw.mjs', import.meta.url))
const PORT = 3033
const AGENTS = 4
/**
 * Addresses of each agent. A closed connection keeps its port for a minute, and the kernel searches for a long time
 * when half of the ports of an address are taken.
 */
const ADDRESSES = 20
/** Milliseconds after which waiting for a process or for the end of connections fails. */
const TIMEOUT = 30_000
/** Milliseconds that a process may take to end. */
const END_TIMEOUT = 5000

/**
 * @typedef {object} PulseOptions
 * @property {string} [linger] default: 1s
 * @property {readonly number[]} [expected] exit codes of `ebb pulse`; default: 0 and 2
 * @property {() => void} [onConnected] called when all connections are open
 */

/**
 * @typedef {object} PulseResult
 * @property {PulseReport} report
 * @property {number} samples number of latencies that the agents recorded
 * @property {number} spread milliseconds between the first and the last start that the agents recorded
 * @property {boolean} sameHistogram the merged histogram equals the histogram of the samples
 */

export class SwarmOfMachines {
  #namespaces = new Namespaces()
  #folder = mkdtempSync(join(tmpdir(), 'ebb-swarm-'))
  /** @type {ChildProcess[]} */
  #processes = []
  #nats = ''
  #server = ''
  /** @type {Machine[]} */
  #machines = []

  /**
   * Starts NATS in the root namespace, and the server and the agents each in a namespace of their own.
   *
   * @param {number} processes servers that share the port
   */
  async start(processes) {
    const { root, network } = this.#namespaces
    const nats = await this.#launch(['nats-server', '-a', root, '-p', '-1'], /connections on \S+:(\d+)/)
    this.#nats = `nats://${root}:${nats[1]}`
    const far = this.#namespaces.add()
    this.#server = far.addresses[0] ?? ''
    const serve = ['serve', '--host', this.#server, '--port', PORT, '--every', 1_000_000, '--procs', processes]
    await this.#launch(far.command(process.execPath, CLI_PATH, ...serve.map(String)), /Listening on/)
    await Promise.all(
      Array.from({ length: AGENTS }, async (_, i) => {
        const machine = this.#namespaces.add(ADDRESSES)
        this.#machines[i] = machine
        const swarm = ['--nats', this.#nats, '--swarm', 'machines', '--name', `machine ${i + 1}`]
        const args = [...swarm, '--allow', network, '--procs', '1', '--source', ...machine.addresses]
        await this.#launch(machine.command(process.execPath, '--import', RAW, CLI_PATH, 'agent', ...args), /^Agent /m, {
          EBB_RAW: this.#folder
        })
      })
    )
  }

  /**
   * Connects a machine to the network or disconnects it.
   *
   * @param {number} number of the machine, from 1
   * @param {boolean} connected
   */
  connect(number, connected) {
    const machine = this.#machines[number - 1]
    if (machine === undefined) throw new RangeError(`there is no machine ${number}`)
    this.#namespaces.connect(machine, connected)
  }

  /** The number of connections to the server that are open, counted on both sides. */
  get established() {
    return this.#namespaces.established(PORT)
  }

  /**
   * Makes one pulse of `n` connections. Throws if `ebb pulse` ends with an unexpected exit code, or if a connection or
   * a process is left.
   *
   * @param {number} n
   * @param {PulseOptions} [options]
   * @returns {Promise<PulseResult>}
   */
  async pulse(n, { linger = '1s', expected = [0, 2], onConnected = () => {} } = {}) {
    for (const file of readdirSync(this.#folder)) rmSync(join(this.#folder, file))
    const before = this.#namespaces.pids().sort().join()
    const plan = ['--big', n, '-i', 1, '--pulses', 0, '--linger', linger, '--json', '--agents', AGENTS]
    const args = ['pulse', `${this.#server}:${PORT}`, '--swarm', 'machines', '--nats', this.#nats, ...plan]
    const { code, stdout, stderr } = await run([process.execPath, CLI_PATH, ...args.map(String)], (said) => {
      if (/: \d+ connected in /.test(said)) onConnected()
    })
    if (code === null || !expected.includes(code)) throw new Error(`ebb pulse ended with ${code}: ${stderr}`)
    const report = /** @type {PulseReport} */ (JSON.parse(stdout))
    const raw = readdirSync(this.#folder).map(
      (file) => /** @type {Raw} */ (JSON.parse(readFileSync(join(this.#folder, file), 'latin1')))
    )
    const whole = new LatencyHistogram()
    for (const { latencies } of raw) for (const ms of latencies) whole.record(ms)
    const first = BigInt(raw[0]?.began ?? 0)
    const starts = raw.map(({ began }) => Number(BigInt(began) - first) / 1e6)
    await until(() => this.established === 0, 'all connections to be closed')
    const after = this.#namespaces.pids().sort().join()
    if (after !== before) throw new Error(`processes ${before} have become ${after}`)
    return {
      report,
      samples: raw.reduce((sum, { latencies }) => sum + latencies.length, 0),
      spread: Math.max(...starts) - Math.min(...starts),
      sameHistogram: report.histogram === whole.encoded()
    }
  }

  /** Ends all processes and removes the namespaces. Throws if a process is left. */
  async dispose() {
    // In reverse order, so that the agents leave while NATS still runs.
    for (const child of this.#processes.reverse()) {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) {
        await Promise.race([once(child, 'exit'), wait(END_TIMEOUT)])
      }
    }
    const left = this.#namespaces.pids()
    this.#namespaces.dispose()
    rmSync(this.#folder, { recursive: true })
    if (left.length > 0) throw new Error(`processes are left: ${left.join(', ')}`)
  }

  /**
   * Starts a command and resolves with the match of what it prints. Rejects if it ends first.
   *
   * @param {readonly string[]} command
   * @param {RegExp} expected
   * @param {Readonly<Record<string, string>>} [env]
   */
  async #launch([program = '', ...args], expected, env = {}) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.#processes.push(child)
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        said += text
      })
    }
    child.on('error', (error) => {
      said += error.message
    })
    await until(() => expected.test(said) || child.exitCode !== null, `${program} to print ${expected}`)
    const match = expected.exec(said)
    if (match === null) throw new Error(`${program} ${args.join(' ')} ended: ${said}`)
    return match
  }
}

/**
 * Runs a command to its end.
 *
 * @param {readonly string[]} command
 * @param {(said: string) => void} onError called with all of standard error, each time that there is more
 */
async function run([program = '', ...args], onError) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
    onError(stderr)
  })
  await once(child, 'close')
  return { code: child.exitCode, stdout, stderr }
}

/**
 * @param {() => boolean} condition
 * @param {string} what what the condition waits for, for the error
 */
async function until(condition, what) {
  for (const end = performance.now() + TIMEOUT; !condition(); await wait(20)) {
    if (performance.now() > end) throw new Error(`waited ${TIMEOUT / 1000} s in vain for ${what}`)
  }
}
