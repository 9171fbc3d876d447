/** A real `nats-server`, as a process of its own. */
import { spawnSync } from 'node:child_process'
import { Cli, type CliOptions } from './cli.js'
import { freePort } from './sockets.js'

/** Debian has it outside a user's path. */
const PROGRAM = ['nats-server', '/usr/sbin/nats-server'].find(
  (name) => spawnSync(name, ['--version']).error === undefined
)

/** Why tests that need it are skipped; undefined where it is there. */
export const noNats = PROGRAM === undefined ? 'there is no nats-server (apt-get install nats-server)' : undefined
if (noNats !== undefined) console.warn(`skipped, because ${noNats}: agents over NATS`)

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

  /** Once it listens, on a port that nobody else is given while it is killed and started again. */
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

  /** On the same port, after it was killed. */
  async startAgain(): Promise<void> {
    this.#cli = new Cli([PROGRAM as string, '-a', '127.0.0.1', '-p', String(this.port), ...this.#args], this.#options)
    await this.#cli.said(/Server is ready/)
  }
}
