/**
 * Four agents on machines of their own (namespaces) and a server on a fifth, NATS between them: pulses of 40,000 connections. What
 * comes of each is compared with what every agent wrote down by itself.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { LatencyHistogram } from '../../packages/ebb-lab/dist/pulse/histogram.js'
import { Namespaces } from './namespaces.mjs'

const MAIN = fileURLToPath(new URL('../../packages/ebb-lab/bin/ebb.js', import.meta.url))
const RAW = fileURLToPath(new URL('./raw.mjs', import.meta.url))
const PORT = 3033
const AGENTS = 4
/** A closed connection keeps its port for a minute, and where half of them are taken the kernel searches for long. */
const ADDRESSES = 20
/** For a process to say something, ms. */
const PATIENCE = 30_000

export class SwarmOfMachines {
  #namespaces = new Namespaces()
  #folder = mkdtempSync(join(tmpdir(), 'ebb-swarm-'))
  #processes = []
  #nats = ''
  #server = ''
  #machines = []

  /** NATS here, the server and the agents each in a namespace. `processes` share the server's port. */
  async start(processes) {
    const { root, network } = this.#namespaces
    const nats = await this.#launch(['nats-server', '-a', root, '-p', '-1'], /connections on \S+:(\d+)/)
    this.#nats = `nats://${root}:${nats[1]}`
    const far = this.#namespaces.add()
    this.#server = far.addresses[0]
    const serve = ['serve', '--host', this.#server, '--port', PORT, '--every', 1_000_000, '--procs', processes]
    await this.#launch(far.command(process.execPath, MAIN, ...serve.map(String)), /Listening on/)
    await Promise.all(
      Array.from({ length: AGENTS }, async (_, i) => {
        const machine = this.#namespaces.add(ADDRESSES)
        this.#machines[i] = machine
        const args = [
          '--nats',
          this.#nats,
          '--swarm',
          'machines',
          '--name',
          `machine ${i + 1}`,
          '--allow',
          network,
          '--procs',
          '1'
        ]
        await this.#launch(
          machine.command(process.execPath, '--import', RAW, MAIN, 'agent', ...args, '--source', ...machine.addresses),
          /^Agent /m,
          { EBB_RAW: this.#folder }
        )
      })
    )
  }

  /** The cable of a machine is pulled out, or put back. */
  connect(machine, connected) {
    this.#namespaces.connect(this.#machines[machine - 1], connected)
  }

  /** Connections that are open to the server, counted on both sides. */
  get established() {
    return this.#namespaces.established(PORT)
  }

  /** One pulse of `n` connections. Throws where anything is left of it, or it ends with another code than is expected. */
  async pulse(n, { linger = '1s', expected = [0, 2], onConnected = () => {} } = {}) {
    for (const file of readdirSync(this.#folder)) rmSync(join(this.#folder, file))
    const before = this.#namespaces.pids().sort().join()
    const plan = ['--big', n, '-i', 1, '--pulses', 0, '--linger', linger, '--json', '--agents', AGENTS]
    const args = ['pulse', `${this.#server}:${PORT}`, '--swarm', 'machines', '--nats', this.#nats, ...plan]
    const { code, stdout, stderr } = await ran([process.execPath, MAIN, ...args.map(String)], (said) => {
      if (/: \d+ connected in /.test(said)) onConnected()
    })
    if (!expected.includes(code)) throw new Error(`ebb pulse ended with ${code}: ${stderr}`)
    const report = JSON.parse(stdout)
    const raw = readdirSync(this.#folder).map((file) => JSON.parse(readFileSync(join(this.#folder, file), 'latin1')))
    const whole = new LatencyHistogram()
    for (const { latencies } of raw) for (const ms of latencies) whole.record(ms)
    const starts = raw.map(({ began }) => Number(BigInt(began) - BigInt(raw[0].began)) / 1e6)
    await until(() => this.established === 0)
    const after = this.#namespaces.pids().sort().join()
    if (after !== before) throw new Error(`processes ${before} have become ${after}`)
    return {
      report,
      samples: raw.reduce((sum, { latencies }) => sum + latencies.length, 0),
      /** By what every agent wrote down, ms. */
      spread: Math.max(...starts) - Math.min(...starts),
      sameHistogram: report.histogram === whole.encoded()
    }
  }

  async dispose() {
    // The last that was started first: agents leave while NATS is there.
    for (const child of this.#processes.reverse()) {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await Promise.race([once(child, 'exit'), wait(5000)])
    }
    const left = this.#namespaces.pids()
    this.#namespaces.dispose()
    rmSync(this.#folder, { recursive: true })
    if (left.length > 0) throw new Error(`processes are left: ${left.join(', ')}`)
  }

  async #launch([program, ...args], says, env = {}) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.#processes.push(child)
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text))
    child.on('error', (error) => (said += error.message))
    await until(() => says.test(said) || child.exitCode !== null)
    const match = says.exec(said)
    if (match === null) throw new Error(`${program} ${args.join(' ')} ended: ${said}`)
    return match
  }
}

/** @param onError told of all that was said on standard error, whenever there is more */
async function ran([program, ...args], onError) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', (text) => (said[name] += text))
  child.stderr.on('data', () => onError(said.stderr))
  const [code] = await once(child, 'close')
  return { code, ...said }
}

async function until(ready) {
  for (const end = performance.now() + PATIENCE; !ready(); await wait(20)) {
    if (performance.now() > end) throw new Error('what was waited for did not come')
  }
}
