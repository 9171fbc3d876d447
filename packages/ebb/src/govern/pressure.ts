/**
 * When the box asks: the kernel's pressure stall information, and systemd's protocol on top of it.
 *
 * - PSI (https://docs.kernel.org/accounting/psi.html): a line such as `some 150000 2000000`, written to `/proc/pressure/memory` or to
 *   `memory.pressure` of a cgroup, and the descriptor is ready (`EPOLLPRI`) whenever tasks stalled for that long (us) within a window
 *   of that long (us). Without CAP_SYS_RESOURCE the window is a multiple of two seconds.
 * - systemd (https://systemd.io/MEMORY_PRESSURE): `MEMORY_PRESSURE_WATCH` names a file of that kind, a FIFO or a socket,
 *   `MEMORY_PRESSURE_WRITE` (Base64) what to write to it first. `/dev/null`: the service is not to watch anything.
 */
import fs from 'node:fs'
import { invalidArgument, systemError } from '../sys/errors.js'
import * as libc from '../sys/libc.js'
import { type Reactor, reactor, type Watcher } from '../sys/reactor.js'
import { SocketAddress } from '../sys/sockaddr.js'

/** A tenth of two seconds lost to waiting for memory: what systemd uses by default is 200 ms in 2 s. */
const TRIGGER = 'some 200000 2000000\0'

/**
 * The kernel says `EPOLLPRI` to the first who asks, and that is libuv, which asks the reactor's epoll whether anything is ready: the
 * reactor then finds nothing. But the file is always readable, too, so that an edge-triggered watch reports each time that it calls.
 */
const CALLED = libc.EPOLLIN | libc.EPOLLPRI | libc.EPOLLET

/** Where pressure is watched: what `MEMORY_PRESSURE_WATCH` says, else the cgroup's file, else the machine's. */
export interface PressureSource {
  path: string
  /** Written first. */
  write: Buffer | undefined
  /** Who said so, for messages. */
  from: string
}

/**
 * @param cgroup `memory.pressure` of the own group, if there is one
 * @returns undefined: it is not to be watched, or cannot be
 * @throws TypeError for variables that cannot be
 */
export function pressureSource(
  environment: Record<string, string | undefined>,
  cgroup: string | undefined
): PressureSource | undefined {
  const { MEMORY_PRESSURE_WATCH: watch, MEMORY_PRESSURE_WRITE: write } = environment
  if (watch !== undefined && watch !== '') {
    if (watch === '/dev/null') return undefined
    if (!watch.startsWith('/')) throw invalidArgument(`MEMORY_PRESSURE_WATCH must be an absolute path, not ${watch}`)
    return { path: watch, write: write ? base64(write) : undefined, from: 'MEMORY_PRESSURE_WATCH' }
  }
  const path = [cgroup, '/proc/pressure/memory'].find((file) => file !== undefined && fs.existsSync(file))
  return path === undefined ? undefined : { path, write: Buffer.from(TRIGGER), from: path }
}

function base64(text: string): Buffer {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw invalidArgument('MEMORY_PRESSURE_WRITE must be Base64')
  return Buffer.from(text, 'base64')
}

/** Calls `asked` whenever memory is short, until it is closed. Does not hold the process open. */
export class PressureWatch implements Watcher {
  readonly #asked: () => void
  readonly #reactor: Reactor
  readonly #owner: number
  readonly #stream: boolean
  /** Of a file that is always readable, the first report says only that. */
  #first = true
  #fd: number
  readonly #close = (): void => this.close()

  /** @throws {SystemError} when the file cannot be opened, written to or watched; `ERR_EBB_UNSUPPORTED` */
  constructor({ path, write }: PressureSource, asked: () => void) {
    this.#asked = asked
    const stat = fs.statSync(path)
    this.#stream = stat.isFIFO() || stat.isSocket()
    this.#reactor = reactor()
    this.#fd = stat.isSocket() ? connectTo(path) : openFile(path, this.#stream || write !== undefined)
    this.#owner = this.#reactor.register(this)
    try {
      if (write !== undefined) fs.writeSync(this.#fd, write)
      const failed = this.#reactor.add(this.#fd, this.#stream ? libc.EPOLLIN : CALLED, this.#owner)
      // EPERM: a file on a disk is always ready, and cannot be watched.
      if (failed !== 0) throw systemError('epoll_ctl', failed, path)
      // A report that is ready when the process ends would call into what is being taken down, which aborts it.
      process.once('exit', this.#close)
    } catch (error) {
      this.#reactor.unregister(this.#owner)
      libc.close(this.#fd)
      throw error
    }
  }

  ready(fd: number, events: number): void {
    if (this.#stream) {
      if (this.#drop(fd)) this.#asked()
      return
    }
    // The cgroup is gone, or the monitor: it would be reported for ever.
    if ((events & (libc.EPOLLERR | libc.EPOLLHUP)) !== 0) {
      this.close()
      return
    }
    if (this.#first) this.#first = false
    else this.#asked()
  }

  close(): void {
    if (this.#fd === -1) return
    this.#reactor.close(this.#fd)
    this.#reactor.unregister(this.#owner)
    process.off('exit', this.#close)
    this.#fd = -1
  }

  /** What comes through a FIFO or a socket has no meaning but that it came. Whether anything did: its end is no call. */
  #drop(fd: number): boolean {
    try {
      if (fs.readSync(fd, Buffer.alloc(4096)) > 0) return true
      this.close()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.close()
    }
    return false
  }
}

function openFile(path: string, writable: boolean): number {
  const { O_RDWR, O_RDONLY, O_NONBLOCK } = fs.constants
  // A FIFO is opened for writing, too: it then never ends when its writers go.
  return fs.openSync(path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK)
}

function connectTo(path: string): number {
  const address = new SocketAddress({ path })
  const type = libc.SOCK_STREAM | libc.SOCK_CLOEXEC | libc.SOCK_NONBLOCK
  const fd = libc.check(libc.socket(libc.AF_UNIX, type, 0), 'socket')
  if (libc.connect(fd, address.pointer, address.length) === -1) {
    const error = systemError('connect', libc.errno(), path)
    libc.close(fd)
    throw error
  }
  return fd
}
