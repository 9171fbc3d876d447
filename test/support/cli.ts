/** Runs the built `ebb` command as a process. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { CLI_PATH } from 'ebb-lab/testing'
import { onTestFinished } from 'vitest'
import { alive, descendants } from './processes.js'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const MAIN = CLI_PATH

export interface Ran {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface CliOptions {
  /** Shell command to run before `ebb`, such as `ulimit -n 256`. */
  shell?: string
  env?: NodeJS.ProcessEnv
  cwd?: string
  uid?: number
  /** `onTestFinished` of the test, for tests that run concurrently. */
  onTestFinished?: (cleanUp: () => Promise<void>) => void
}

/** A process whose output is kept. After the test, it is killed with all its descendants. */
export class Cli {
  readonly process: ChildProcess
  readonly ended: Promise<Ran>
  stdout = ''
  stderr = ''
  #over: Ran | undefined
  readonly #wakes = new Set<() => void>()

  constructor(command: readonly string[], options: CliOptions = {}) {
    const { shell, uid, cwd = ROOT, env = {} } = options
    const { NO_COLOR: _, FORCE_COLOR: __, DEBUG: ___, ...inherited } = process.env
    const [program = '', ...args] =
      shell === undefined ? command : ['sh', '-c', `${shell}; exec "$@"`, 'sh', ...command]
    const spawning: SpawnOptions = {
      cwd,
      env: { ...inherited, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(uid !== undefined && { uid, gid: uid })
    }
    this.process = spawn(program, args, spawning)
    this.process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.#tell()
    })
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#tell()
    })
    this.ended = new Promise((resolve, reject) => {
      this.process.on('error', reject)
      this.process.on('close', (code, signal) => {
        this.#over = { code, signal, stdout: this.stdout, stderr: this.stderr }
        resolve(this.#over)
        this.#tell()
      })
    })
    const finished = options.onTestFinished ?? onTestFinished
    finished(() => this.#remove())
  }

  get pid(): number {
    return this.process.pid as number
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  /** Sends a signal. Resolves when the process has ended. */
  async end(signal: NodeJS.Signals): Promise<Ran> {
    this.kill(signal)
    return await this.ended
  }

  /** Waits until `pattern` matches stdout or stderr. Throws if the process ends before. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr)
      if (match !== null) return match
      if (this.#over !== undefined) throw new Error(`ended without ${pattern}:\n${this.stdout}\n${this.stderr}`)
      await new Promise<void>((resolve) => this.#wakes.add(resolve))
    }
  }

  #tell(): void {
    for (const wake of this.#wakes) wake()
    this.#wakes.clear()
  }

  async #remove(): Promise<void> {
    if (this.#over !== undefined || this.process.pid === undefined) return
    const below = descendants(this.pid)
    this.kill('SIGKILL')
    for (const pid of below) {
      if (alive(pid)) process.kill(pid, 'SIGKILL')
    }
    await this.ended
  }
}

/** Starts `ebb ARGS`. */
export function ebb(args: readonly string[], options?: CliOptions): Cli {
  return new Cli([process.execPath, MAIN, ...args], options)
}

/** Runs `ebb ARGS` until it ends. */
export function run(args: readonly string[], options?: CliOptions): Promise<Ran> {
  return ebb(args, options).ended
}

export interface Server extends Cli {
  port: number
  /** Returns the number of clients in its last line. */
  clients(): number
}

/**
 * Starts `ebb serve` on a port that the kernel chooses, and waits until it listens. It prints a line for each client.
 */
export async function server(args: readonly string[] = [], options?: CliOptions): Promise<Server> {
  const cli = ebb(['serve', '--port', '0', '--every', '1', ...args], options)
  const [, port] = await cli.said(/^Listening on \S+:(\d+) \(/m)
  const clients = (): number => Number(/(?:.*\n)*Cycle #.*: (\d+) clients/.exec(cli.stdout)?.[1])
  return Object.assign(cli, { port: Number(port), clients })
}

/** Starts a server from JavaScript source with `net` in scope. The source prints the port that it listens on. */
export async function program(source: string, options?: CliOptions): Promise<Cli & { port: number }> {
  const cli = new Cli(
    [process.execPath, '--input-type=module', '--eval', `import net from 'node:net';${source}`],
    options
  )
  const [, port] = await cli.said(/^(\d+)$/m)
  return Object.assign(cli, { port: Number(port) })
}
