/** The parent's side of a child process that carries out orders; `answer.mjs` is the child's side. */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** Milliseconds after which a child that has not answered counts as hung. */
const ANSWER_TIMEOUT = 120_000
/** Milliseconds between two questions of {@link Child.until}. */
const POLL_INTERVAL = 50
/** Milliseconds after which {@link Child.until} gives up. */
const CONDITION_TIMEOUT = 60_000

/**
 * The orders that a child carries out: its functions by name. Arguments and results are sent as JSON.
 *
 * @typedef {Record<string, (...args: never[]) => unknown>} Orders
 */

/**
 * An order on its way to a child.
 *
 * @typedef {object} Order
 * @property {number} id
 * @property {string} order
 * @property {readonly unknown[]} args
 */

/**
 * A child's answer. `id` 0 tells that it is ready; `error` is the stack of what the order threw.
 *
 * @typedef {object} Answer
 * @property {number} id
 * @property {unknown} [result]
 * @property {string | undefined} [error]
 */

/**
 * @typedef {object} ChildOptions
 * @property {readonly unknown[]} [args] what the child finds in `given`
 * @property {readonly string[]} [execArgv] flags for Node
 */

/**
 * @typedef {object} Pending
 * @property {(result: unknown) => void} resolve
 * @property {(error: Error) => void} reject
 */

/** @import { ChildProcess } from 'node:child_process' */

/** @type {Set<{ end(): Promise<void> }>} */
const alive = new Set()

/**
 * A child process that carries out orders.
 *
 * @template {Orders} O
 */
export class Child {
  #name
  #process
  /** @type {Map<number, Pending>} */
  #pending = new Map()
  #lastId = 0
  /** @type {unknown} */
  #ready

  /**
   * Forks a module and resolves when it is ready.
   *
   * @template {Orders} O
   * @param {URL} module
   * @param {ChildOptions} [options]
   * @returns {Promise<Child<O>>}
   */
  static async start(module, { args = [], execArgv = [] } = {}) {
    const file = fileURLToPath(module)
    /** @type {Child<O>} */
    const child = new Child(file, fork(file, args.map(json), { execArgv: [...execArgv] }))
    child.#ready = await child.#answer(0)
    return child
  }

  /**
   * Starts a program that is not written for Node, and resolves when it is ready. It finds the number of a Unix socket
   * in `NODE_CHANNEL_FD`, on which orders and answers are lines of JSON.
   *
   * @template {Orders} O
   * @param {readonly [program: string, ...args: string[]]} command
   * @param {readonly unknown[]} [args] further arguments, as JSON
   * @returns {Promise<Child<O>>}
   */
  static async run([program, ...first], args = []) {
    const started = spawn(program, [...first, ...args.map(json)], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
    /** @type {Child<O>} */
    const child = new Child([program, ...first].join(' '), started)
    child.#ready = await child.#answer(0)
    return child
  }

  /**
   * @param {string} name what errors call it
   * @param {ChildProcess} started a process with an IPC channel
   */
  constructor(name, started) {
    this.#name = name
    this.#process = started
    alive.add(this)
    this.#process.on('message', (message) => {
      const { id, result, error } = /** @type {Answer} */ (message)
      const pending = this.#pending.get(id)
      this.#pending.delete(id)
      if (error !== undefined) pending?.reject(new Error(`${this.#name}: ${error}`))
      else pending?.resolve(result)
    })
    this.#process.on('error', (error) => {
      for (const { reject } of this.#pending.values()) reject(error)
    })
    this.#process.on('exit', (code, signal) => {
      alive.delete(this)
      for (const { reject } of this.#pending.values()) reject(new Error(`${this.#name} ended (${signal ?? code})`))
    })
  }

  /** Its process id. */
  get pid() {
    return this.#process.pid ?? 0
  }

  /** The port that the child listens on. Throws if the child is no server. */
  get port() {
    if (typeof this.#ready !== 'number') throw new TypeError(`${this.#name} listens on no port`)
    return this.#ready
  }

  /**
   * Sends an order and resolves with the child's answer. Rejects if the order throws, if the child ends, or if no
   * answer comes within 120 s.
   *
   * @template {keyof O & string} K
   * @param {K} order
   * @param {Parameters<O[K]>} args
   * @returns {Promise<Awaited<ReturnType<O[K]>>>}
   */
  async ask(order, ...args) {
    const id = ++this.#lastId
    this.#process.send({ id, order, args })
    return /** @type {Awaited<ReturnType<O[K]>>} */ (await this.#answer(id))
  }

  /**
   * Repeats an order until its answer satisfies the condition. Rejects after 60 s.
   *
   * @template {keyof O & string} K
   * @param {K} order an order without arguments
   * @param {(answer: Awaited<ReturnType<O[K]>>) => boolean} condition
   */
  async until(order, condition) {
    const start = performance.now()
    for (;;) {
      const answer = await this.ask(order, .../** @type {Parameters<O[K]>} */ (/** @type {unknown} */ ([])))
      if (condition(answer)) return
      if (performance.now() - start > CONDITION_TIMEOUT) {
        throw new Error(
          `waited ${CONDITION_TIMEOUT / 1000} s for ${order}; the last answer was ${JSON.stringify(answer)}`
        )
      }
      await wait(POLL_INTERVAL)
    }
  }

  /** Ends the child and resolves when its process has ended. */
  async end() {
    if (!alive.has(this)) return
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }

  /**
   * @param {number} id
   * @returns {Promise<unknown>}
   */
  #answer(id) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${this.#name} did not answer within ${ANSWER_TIMEOUT / 1000} s`)),
        ANSWER_TIMEOUT
      )
      this.#pending.set(id, {
        resolve: (result) => {
          clearTimeout(timer)
          resolve(result)
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        }
      })
    })
  }
}

/** Ends every child that is still running. */
export async function endChildren() {
  await Promise.all([...alive].map((child) => child.end()))
}

/** @param {unknown} value */
const json = (value) => JSON.stringify(value)
