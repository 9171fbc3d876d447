/** A program that is measured: a process of its own, with or without `ebb/auto`. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ProcessView } from 'ebb/memory'

/** @import { ChildProcess } from 'node:child_process' */
/** @import { Governor, ProbeOrders, ProbeReport } from './probe.mjs' */

/** Milliseconds between two samples of a program's memory. */
const SAMPLE_INTERVAL = 50
/** Milliseconds after which a program that has not answered counts as hung. */
const ANSWER_TIMEOUT = 60_000

const PROBE = new URL('./probe.mjs', import.meta.url).href
const HERE = fileURLToPath(new URL('.', import.meta.url))

/**
 * How a program is started.
 *
 * @typedef {object} ProgramOptions
 * @property {string} node path of the Node that runs it
 * @property {boolean} governed with `ebb/auto`
 * @property {readonly string[]} [flags] more flags for Node
 */

/** @type {Set<Program>} */
const running = new Set()

/**
 * Returns the command line of a program of `programs/`.
 *
 * @param {string} name
 * @param {ProgramOptions} options
 */
export function commandOf(name, options) {
  return [options.node, ...flagsOf(options), fileOf(name)]
}

/** @param {string} name */
const fileOf = (name) => fileURLToPath(new URL(`programs/${name}.mjs`, import.meta.url))

/**
 * The probe comes last, so that `ebb/auto` has already loaded what the probe imports.
 *
 * @param {ProgramOptions} options
 */
const flagsOf = ({ governed, flags = [] }) => [
  ...flags,
  ...(governed ? ['--import', 'ebb/auto'] : []),
  '--import',
  PROBE
]

export class Program {
  /** The port that the program listens on. */
  port
  #process
  #view

  /**
   * Starts a program of `programs/` and resolves when it listens.
   *
   * @param {string} name
   * @param {ProgramOptions} options
   */
  static async start(name, options) {
    const child = fork(fileOf(name), [], {
      execPath: options.node,
      execArgv: flagsOf(options),
      cwd: HERE,
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc']
    })
    const { stdout, pid } = child
    if (stdout === null || pid === undefined) throw new Error(`${name} could not be started`)
    const ended = once(child, 'exit').then(([code, signal]) => {
      throw new Error(`${name} ended before it listened (${signal ?? code})`)
    })
    const [line] = await Promise.race([once(createInterface(stdout), 'line'), ended])
    // From now on the program may end.
    ended.catch(() => {})
    return new Program(child, pid, Number(/(\d+)$/.exec(line)?.[1]))
  }

  /**
   * @param {ChildProcess} child
   * @param {number} pid
   * @param {number} port
   */
  constructor(child, pid, port) {
    this.port = port
    this.#process = child
    this.#view = new ProcessView(pid)
    running.add(this)
    child.on('exit', () => running.delete(this))
  }

  /** Returns the anonymous memory in bytes. */
  anonymous() {
    return this.#view.status().anonymous
  }

  /** Returns the user and system time since the start in ms. */
  cpu() {
    return this.#view.cpu()
  }

  /**
   * Sends an order to the probe and resolves with its answer.
   *
   * @template {keyof ProbeOrders} K
   * @param {K} order
   * @returns {Promise<ReturnType<ProbeOrders[K]>>}
   */
  async ask(order) {
    const answered = once(this.#process, 'message', { signal: AbortSignal.timeout(ANSWER_TIMEOUT) })
    this.#process.send(order)
    const [{ answer }] = await answered
    return answer
  }

  /**
   * Samples anonymous memory until `work` is done, and resolves with the samples in bytes.
   *
   * @param {Promise<unknown>} work
   * @param {number} after milliseconds before the first sample
   */
  async sample(work, after) {
    const figures = []
    let done = false
    const finished = work.finally(() => {
      done = true
    })
    finished.catch(() => {})
    await wait(after)
    while (!done) {
      figures.push(this.anonymous())
      await wait(SAMPLE_INTERVAL)
    }
    await finished
    return figures
  }

  async end() {
    this.#view.close()
    if (!running.has(this)) return
    const exit = once(this.#process, 'exit')
    this.#process.kill()
    await exit
  }
}

/** Ends every program that is still running. */
export async function endPrograms() {
  await Promise.all([...running].map((program) => program.end()))
}

/**
 * Returns the governor's figures of a report. Throws if the program ran without `ebb/auto`.
 *
 * @param {ProbeReport} report
 * @returns {Governor}
 */
export function governorOf({ governor }) {
  if (governor === undefined) throw new Error('the program has no governor')
  return governor
}
