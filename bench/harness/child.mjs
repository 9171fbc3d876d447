/** A process of its own that answers orders: see answer.mjs for its side. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** A child that is still busy after this many ms has hung. */
const LONGEST_ANSWER = 120_000
/** Looks while waiting for a condition, ms. */
const LOOK = 50
const LONGEST_WAIT = 60_000

const alive = new Set()

export class Child {
  /** What the child told when it was ready; for a server, its port. */
  ready
  #process
  #answers = new Map()
  #last = 0

  /** Forks `file`, a module of this directory; `args` are what it finds in `given`. */
  static async start(file, ...args) {
    const child = new Child(file, args)
    child.ready = await child.#answer(0)
    return child
  }

  constructor(file, args) {
    const flags = file.endsWith('-server.mjs') ? (process.env.EBB_BENCH_EXEC_ARGV ?? '') : ''
    this.#process = fork(
      fileURLToPath(new URL(file, import.meta.url)),
      args.map((arg) => JSON.stringify(arg)),
      { execArgv: flags.split(' ').filter(Boolean) }
    )
    alive.add(this)
    this.#process.on('message', ({ id, result, error }) => {
      const answer = this.#answers.get(id)
      this.#answers.delete(id)
      if (error !== undefined) answer?.reject(new Error(`${file}: ${error}`))
      else answer?.resolve(result)
    })
    this.#process.on('exit', (code, signal) => {
      alive.delete(this)
      for (const { reject } of this.#answers.values()) reject(new Error(`${file} ended (${signal ?? code})`))
    })
  }

  get pid() {
    return this.#process.pid
  }

  /** Resolves with what the child answers. */
  ask(order, ...args) {
    const id = ++this.#last
    this.#process.send({ id, order, args })
    return this.#answer(id)
  }

  /** Asks again and again until the answer is as wanted, and resolves with it. */
  async until(order, wanted) {
    const start = performance.now()
    for (;;) {
      const answer = await this.ask(order)
      if (wanted(answer)) return answer
      if (performance.now() - start > LONGEST_WAIT) {
        throw new Error(`waited ${LONGEST_WAIT / 1000} s for ${order}; last: ${JSON.stringify(answer)}`)
      }
      await wait(LOOK)
    }
  }

  async end() {
    if (!alive.has(this)) return
    const exit = once(this.#process, 'exit')
    this.#process.disconnect()
    await exit
  }

  #answer(id) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('no answer')), LONGEST_ANSWER)
      const settle = (done) => (value) => {
        clearTimeout(late)
        done(value)
      }
      this.#answers.set(id, { resolve: settle(resolve), reject: settle(reject) })
    })
  }
}

/** Ends every child that is left. */
export async function endChildren() {
  await Promise.all([...alive].map((child) => child.end()))
}
