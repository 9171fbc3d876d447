/** A stand-in for systemd: runs a service, keeps the descriptors that it stores, and starts it again with them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { Channel, closeDescriptor, constants, libc, SocketAddress } from 'ebb/sys'
import { onTestFinished } from 'vitest'
import { alive, descendants } from './processes.js'
import { directory } from './sockets.js'

interface Stored {
  name: string
  fd: number
}

/** Settings of a unit. */
export interface UnitOptions {
  /** `FileDescriptorStoreMax=`. Default: 16. */
  storeMax?: number
  /** Descriptors of a socket unit, with their names. */
  sockets?: readonly Stored[]
  env?: NodeJS.ProcessEnv
}

/** How often the notifications are read, ms. systemd has an event for it. */
const EVERY = 5

/** One service. */
export class ServiceManager {
  readonly path = join(directory(), 'notify')
  /** Notifications of the present run, without those about descriptors. */
  sent: string[] = []
  /** The descriptor store. */
  stored: Stored[] = []
  stderr = ''
  readonly #command: readonly string[]
  readonly #options: UnitOptions
  readonly #fd: number
  readonly #socket: Channel
  #child: ChildProcess | undefined
  #exit: Promise<unknown> = Promise.resolve()
  readonly #timer: NodeJS.Timeout

  constructor(command: readonly string[], options: UnitOptions = {}) {
    this.#command = command
    this.#options = options
    const type = constants.SOCK_DGRAM | constants.SOCK_CLOEXEC | constants.SOCK_NONBLOCK
    this.#fd = libc.check(libc.socket(constants.AF_UNIX, type, 0), 'socket')
    const address = new SocketAddress({ path: this.path })
    libc.check(libc.bindAddress(this.#fd, address.pointer, address.length), 'bind')
    chmodSync(this.path, 0o600)
    this.#socket = new Channel(this.#fd)
    this.#timer = setInterval(() => this.#read(), EVERY)
    onTestFinished(async () => {
      clearInterval(this.#timer)
      for (const pid of [...(this.#child?.pid ? [this.#child.pid, ...descendants(this.#child.pid)] : [])]) {
        if (alive(pid)) process.kill(pid, 'SIGKILL')
      }
      await this.#exit
      this.#socket.close()
      this.discard()
    })
  }

  /** Process id of the service. */
  get pid(): number {
    return this.#child?.pid as number
  }

  /** Starts the service, and resolves when it has sent READY=1. */
  async start(): Promise<void> {
    const { sockets = [], env = {} } = this.#options
    this.sent = []
    this.stderr = ''
    // Sockets come first. The order of stored descriptors is not defined.
    const passed = [...sockets, ...this.stored]
    const names = passed.map(({ name }) => name).join(':')
    const variables = `export LISTEN_FDS=${passed.length} LISTEN_FDNAMES=${names} LISTEN_PID=$$`
    const script = `${passed.length === 0 ? ':' : variables}; exec "$@"`
    const child = spawn('sh', ['-c', script, 'sh', ...this.#command], {
      stdio: ['ignore', 'ignore', 'pipe', ...passed.map(({ fd }) => fd)],
      env: { ...process.env, ...env, NOTIFY_SOCKET: this.path }
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.#child = child
    this.#exit = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
    await this.until(() => this.sent.some((text) => /^READY=1$/m.test(text)))
  }

  /** Waits for a state that comes with a notification, or with an output. Throws if the service ends before. */
  async until(ready: () => boolean): Promise<void> {
    while (!ready()) {
      if (this.#child?.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`the service has ended:\n${this.stderr}`)
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY))
    }
  }

  /** `systemctl restart`. */
  async restart(): Promise<void> {
    await this.end()
    await this.start()
  }

  /** `systemctl stop`: what is stored is closed. */
  async stop(): Promise<void> {
    await this.end()
    this.discard()
  }

  /** Ends the service, and keeps what is stored. @returns how it ended */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<unknown> {
    this.#child?.kill(signal)
    const ended = await this.#exit
    this.#read()
    return ended
  }

  /** Closes all that is stored. */
  discard(): void {
    for (const { fd } of this.stored.splice(0)) closeDescriptor(fd)
  }

  #read(): void {
    for (;;) {
      const received = this.#socket.tryReceive()
      if (received === undefined || received === 'end') return
      const text = received.bytes.toString()
      const fields = new Map(text.split('\n').map((line) => line.split(/=(.*)/s, 2) as [string, string]))
      const name = fields.get('FDNAME') ?? 'stored'
      if (fields.get('FDSTORE') === '1') this.#store(name, received.descriptors.splice(0), fields.get('FDPOLL') !== '0')
      else if (fields.get('FDSTOREREMOVE') === '1') this.#remove(name)
      else this.sent.push(text)
      for (const fd of received.descriptors) closeDescriptor(fd)
    }
  }

  #store(name: string, descriptors: readonly number[], polls: boolean): void {
    for (const fd of descriptors) {
      const isFull = this.stored.length >= (this.#options.storeMax ?? 16)
      // As systemd: too many, names that LISTEN_FDNAMES may not hold, and what is at its end are dropped.
      if (isFull || !/^[\w.-]{1,255}$/.test(name) || (polls && isAtEnd(fd))) closeDescriptor(fd)
      else this.stored.unshift({ name, fd })
    }
  }

  #remove(name: string): void {
    for (const { fd } of this.stored.filter((one) => one.name === name)) closeDescriptor(fd)
    this.stored = this.stored.filter((one) => one.name !== name)
  }
}

/** Whether `poll` reports POLLHUP or POLLERR. */
function isAtEnd(fd: number): boolean {
  const pollfd = new Int32Array([fd, 0])
  libc.pollDescriptors(libc.addressOf(pollfd), 1, 0)
  return (((pollfd[1] as number) >>> 16) & 0x18) !== 0
}
