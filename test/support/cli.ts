/** The built `ebb` on its command line, as a process of its own. */
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
  /** Run by `sh` before it becomes `ebb`: `ulimit -n 256`. */
  shell?: string
  env?: NodeJS.ProcessEnv
  cwd?: string
  uid?: number
  /** The test's own, where tests run beside each other. */
  onTestFinished?: (cleanUp: () => Promise<void>) => void
}

/** A process whose output is kept. It, and all that it started, is gone when its test is over. */
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

  /** Sends the signal; resolves when the process has ended. */
  async end(signal: NodeJS.Signals): Promise<Ran> {
    this.kill(signal)
    return await this.ended
  }

  /** Waits for `pattern` in what was printed, on either stream; throws when the process ends without it. */
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

/** Runs `ebb ARGS` to its end. */
export function run(args: readonly string[], options?: CliOptions): Promise<Ran> {
  return ebb(args, options).ended
}

export interface Server extends Cli {
  port: number
  /** The number of clients that its last line told. */
  clients(): number
}

/** `ebb serve` on a port of the kernel's choice, once it listens. It tells of every client, unless `args` say otherwise. */
export async function server(args: readonly string[] = [], options?: CliOptions): Promise<Server> {
  const cli = ebb(['serve', '--port', '0', '--every', '1', ...args], options)
  const [, port] = await cli.said(/^Listening on \S+:(\d+) \(/m)
  const clients = (): number => Number(/(?:.*\n)*Cycle #.*: (\d+) clients/.exec(cli.stdout)?.[1])
  return Object.assign(cli, { port: Number(port), clients })
}

/** A server of the test's own: JavaScript with `net` and `port` (0) in scope, which prints the port that it listens on. */
export async function program(source: string, options?: CliOptions): Promise<Cli & { port: number }> {
  const cli = new Cli(
    [process.execPath, '--input-type=module', '--eval', `import net from 'node:net';${source}`],
    options
  )
  const [, port] = await cli.said(/^(\d+)$/m)
  return Object.assign(cli, { port: Number(port) })
}
