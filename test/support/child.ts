/** Node processes for tests: a module's source in, lines of JSON out. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

/** Where `ebb` resolves, to the built library. */
const cwd = fileURLToPath(new URL('../..', import.meta.url))

export interface ChildOptions {
  /** For Node: `--expose-gc`, ... */
  args?: string[]
  /** Run by `sh` before it becomes Node: `ulimit -n 256`. */
  shell?: string
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

/** A child process. Killed, if it still runs, when its test is over. */
export class Child {
  readonly process: ChildProcessWithoutNullStreams
  readonly ended: Promise<Ended>
  stderr = ''
  readonly #lines: unknown[] = []
  #wake: (() => void) | undefined
  #over = false

  constructor(source: string, { args = [], shell }: ChildOptions = {}) {
    const node = [...args, '--input-type=module', '--eval', source]
    this.process =
      shell === undefined
        ? spawn(process.execPath, node, { cwd })
        : spawn('sh', ['-c', `${shell}; exec "$@"`, 'sh', process.execPath, ...node], { cwd })
    this.process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#wake?.()
    })
    createInterface(this.process.stdout).on('line', (line) => {
      this.#lines.push(JSON.parse(line))
      this.#wake?.()
    })
    // A child that has gone does not read what it is told: its end says so.
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

  /** The next line that it prints, parsed. Throws, with what it said on stderr, when it ends before. */
  async next<T>(): Promise<T> {
    await this.until(() => this.#lines.length > 0)
    return this.#lines.shift() as T
  }

  /** Waits until `ready` holds; looks whenever the child says anything. */
  async until(ready: () => boolean): Promise<void> {
    while (!ready()) {
      if (this.#over) throw new Error(`the child ended:\n${this.stderr}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Sends it a line. */
  tell(line: string): void {
    this.process.stdin.write(`${line}\n`)
  }

  /** Sends it a line and waits for the next that it prints. */
  ask<T>(line: string): Promise<T> {
    this.tell(line)
    return this.next<T>()
  }
}
