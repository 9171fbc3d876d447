/** Runs a real `nats-server` as a process. */
import { spawnSync } from 'node:child_process'
import { Cli, type CliOptions } from './cli.js'
import { freePort } from './sockets.js'

/** Debian installs it in a directory that may not be in a user's `PATH`. */
const PROGRAM = ['nats-server', '/usr/sbin/nats-server'].find(
  (name) => spawnSync(name, ['--version']).error === undefined
)

/** Why tests that need NATS are skipped, or undefined. */
export const noNats = PROGRAM === undefined ? 'there is no nats-server (apt-get install nats-server)' : undefined
if (noNats !== undefined) console.warn(`skipped, because ${noNats}: agents over NATS`)

/** A NATS server that can be killed and started again. */
export class Nats {
  readonly port: number
  readonly #args: readonly string[]
  readonly #options: CliOptions | undefined
  #cli: Cli

  private constructor(port: number, args: readonly string[], options: CliOptions | undefined, cli: Cli) {
    this.port = port
    this.#args = args
    this.#options = options
    this.#cli = cli
  }

  /** Starts the server on a port that nobody else gets while the server is restarted. */
  static async start(args: readonly string[] = [], options?: CliOptions): Promise<Nats> {
    const cli = new Cli([PROGRAM as string, '-a', '127.0.0.1', '-p', `${await freePort()}`, ...args], options)
    const [, port] = await cli.said(/Listening for client connections on \S+:(\d+)/)
    return new Nats(Number(port), args, options, cli)
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#cli.pid
  }

  async kill(): Promise<void> {
    await this.#cli.end('SIGKILL')
  }

  /** Starts the server again on the same port, after it was killed. */
  async startAgain(): Promise<void> {
    this.#cli = new Cli([PROGRAM as string, '-a', '127.0.0.1', '-p', String(this.port), ...this.#args], this.#options)
    await this.#cli.said(/Server is ready/)
  }
}
