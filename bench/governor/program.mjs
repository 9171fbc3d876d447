/** A program that is measured: a process of its own, with or without ebb/auto. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ProcessView } from 'ebb/memory'

/** Between two looks at a program's memory, ms. */
const LOOK = 50
/** A program that is silent for so long (ms) has hung. */
const LONGEST_ANSWER = 60_000

const PROBE = new URL('./probe.mjs', import.meta.url).href
const HERE = fileURLToPath(new URL('.', import.meta.url))

const running = new Set()

/** The command line of a program of `programs/`. */
export function commandOf(name, { node, governed, flags = [] }) {
  return [node, ...flagsOf(governed, flags), fileOf(name)]
}

const fileOf = (name) => fileURLToPath(new URL(`programs/${name}.mjs`, import.meta.url))

// The probe comes last: what it loads is there already.
const flagsOf = (governed, flags) => [...flags, ...(governed ? ['--import', 'ebb/auto'] : []), '--import', PROBE]

export class Program {
  port
  #process
  #view

  /** Resolves when the program of that name listens. */
  static async start(name, { node, governed, flags = [] }) {
    const program = new Program()
    const child = fork(fileOf(name), [], {
      execPath: node,
      execArgv: flagsOf(governed, flags),
      cwd: HERE,
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc']
    })
    program.#process = child
    running.add(program)
    child.on('exit', () => running.delete(program))
    const ended = once(child, 'exit').then(([code, signal]) => {
      throw new Error(`${name} ended before it listened (${signal ?? code})`)
    })
    const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended])
    // It is not waited for any longer.
    ended.catch(() => {})
    program.port = Number(/(\d+)$/.exec(line)[1])
    program.#view = new ProcessView(child.pid)
    return program
  }

  /** Bytes. */
  anonymous() {
    return this.#view.status().anonymous
  }

  /** User and system time since the start, ms. */
  cpu() {
    return this.#view.cpu()
  }

  /** See probe.mjs. */
  async ask(order) {
    const signal = AbortSignal.timeout(LONGEST_ANSWER)
    const answered = once(this.#process, 'message', { signal })
    this.#process.send(order)
    const [{ answer }] = await answered
    return answer
  }

  /** Anonymous memory, looked at again and again, from `after` ms on until `work` is done. */
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
      await wait(LOOK)
    }
    await finished
    return figures
  }

  async end() {
    this.#view?.close()
    if (!running.has(this)) return
    const exit = once(this.#process, 'exit')
    this.#process.kill()
    await exit
  }
}

/** Ends every program that is left. */
export async function endPrograms() {
  await Promise.all([...running].map((program) => program.end()))
}
