/** A socket at which other processes connect, watched by the reactor. */
import { acceptChannel, type Channel } from '../sys/channel.js'
import { EPOLLIN } from '../sys/constants.js'
import { type SystemError, systemError } from '../sys/errors.js'
import { outside } from '../sys/node/callback-scope.js'
import { reactor, type Watcher } from '../sys/reactor.js'
import { closeDescriptor } from '../sys/socket.js'

/** Milliseconds until the next attempt to accept a channel, when this process can have no more descriptors. */
const RETRY = 1000

/** Accepts channels until it is closed. */
export class ChannelListener implements Watcher {
  /** Descriptor of the socket. */
  readonly fd: number
  readonly #onChannel: (channel: Channel) => void
  readonly #onFailure: (error: Error) => void
  readonly #reactor = reactor()
  readonly #owner = this.#reactor.register(this)
  #isOpen = true
  #retryTimer: NodeJS.Timeout | undefined

  /**
   * @param fd of `listenForChannels()`, which the listener owns from now on
   * @param onChannel called with each channel, which it owns
   * @param onFailure called with the errors of `acceptChannel()` and of `onChannel`
   * @throws {SystemError} of `epoll_ctl`; then the socket is closed
   */
  constructor(fd: number, onChannel: (channel: Channel) => void, onFailure: (error: Error) => void) {
    this.fd = fd
    this.#onChannel = onChannel
    this.#onFailure = onFailure
    const errno = this.#reactor.add(fd, EPOLLIN, this.#owner)
    if (errno === 0) return
    this.#reactor.unregister(this.#owner)
    closeDescriptor(fd)
    throw systemError('epoll_ctl', errno)
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Called by the reactor: a process connects. */
  ready(): void {
    try {
      const channel = acceptChannel(this.fd)
      if (channel !== undefined) this.#onChannel(channel)
    } catch (error) {
      if ((error as SystemError).syscall === 'accept4') this.#pause()
      this.#onFailure(error as Error)
    }
  }

  /** Stops watching for a while: the channel that cannot be accepted would be reported in every turn. */
  #pause(): void {
    this.#reactor.modify(this.fd, 0)
    this.#retryTimer = outside(() => setTimeout(() => this.#reactor.modify(this.fd, EPOLLIN), RETRY))
    this.#retryTimer.unref()
  }

  /** Closes the socket, without an effect on a process that has a duplicate. Closing twice is allowed. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    clearTimeout(this.#retryTimer)
    this.#reactor.remove(this.fd)
    this.#reactor.unregister(this.#owner)
    closeDescriptor(this.fd)
  }
}
