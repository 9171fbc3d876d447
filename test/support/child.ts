/** Node processes for tests. Each runs the source of a module and prints lines of JSON. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

/** A directory from which `ebb` resolves to the built library. */
const cwd = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Shell command for a child that is to run out of descriptors. Node 20 reads all modules of the library at once and has
 * about 70 descriptors open meanwhile; later versions read one module after the other.
 */
export const FEW_DESCRIPTORS = 'ulimit -n 128'

export interface ChildOptions {
  /** Path of Node. Default: the present one. */
  node?: string
  /** Options of Node, such as `--expose-gc`. */
  args?: string[]
  /** Shell command to run before Node, such as `ulimit -n 256`. */
  shell?: string
  /** Variables to set in addition to this process's. */
  env?: Record<string, string>
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

/** A child process. It is killed after the test if it still runs. */
export class Child {
  readonly process: ChildProcessWithoutNullStreams
  readonly ended: Promise<Ended>
  stderr = ''
  readonly #lines: unknown[] = []
  #wake: (() => void) | undefined
  #over = false

  constructor(source: string, { node: path = process.execPath, args = [], shell, env }: ChildOptions = {}) {
    const options = { cwd, env: { ...process.env, ...env } }
    const node = [...args, '--input-type=module', '--eval', source]
    this.process =
      shell === undefined
        ? spawn(path, node, options)
        : spawn('sh', ['-c', `${shell}; exec "$@"`, 'sh', path, ...node], options)
    this.process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#wake?.()
    })
    createInterface(this.process.stdout).on('line', (line) => {
      this.#lines.push(JSON.parse(line))
      this.#wake?.()
    })
    // A child that has ended does not read its input. Its exit is reported elsewhere.
    this.process.stdin.on('error', () => {})
    this.ended = new Promise((resolve, reject) => {
      this.process.on('error', reject)
      this.process.on('close', (code, signal) => {
        this.#over = true
        this.#wake?.()
        resolve({ code, signal, stderr: this.stderr })
      })
    })
    onTestFinished(async () => {
      this.process.kill('SIGKILL')
      await this.ended
    })
  }

  /** Returns the next line that it prints, parsed. Throws with its stderr if it ends without another line. */
  async next<T>(): Promise<T> {
    await this.until(() => this.#lines.length > 0)
    return this.#lines.shift() as T
  }

  /** Waits until `ready()` returns true. Checks after each output of the child. */
  async until(ready: () => boolean): Promise<void> {
    while (!ready()) {
      if (this.#over) throw new Error(`the child ended:\n${this.stderr}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Sends a line to the child. */
  tell(line: string): void {
    this.process.stdin.write(`${line}\n`)
  }

  /** Sends a line and returns the next line that the child prints. */
  ask<T>(line: string): Promise<T> {
    this.tell(line)
    return this.next<T>()
  }
}
