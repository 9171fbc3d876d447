/** A channel that the reactor watches: messages come as calls, and those that the kernel does not take at once wait. */
import { type Channel, type ChannelMessage, isTemporary } from '../sys/channel.js'
import { EPOLLIN, EPOLLOUT } from '../sys/constants.js'
import { systemError } from '../sys/errors.js'
import { reactor, type Watcher } from '../sys/reactor.js'
import { closeDescriptor } from '../sys/socket.js'
import { decode, type Message } from './protocol.js'

/** Messages are handled for this long (ms) before the event loop goes on. */
const TURN = 5
/** Bytes that may wait for a process that does not read. */
export const MOST_WAITING = 64 * 1024 * 1024

/** What is done with the messages of a link. */
export interface LinkHandler {
  /**
   * Called for each message. It takes the descriptors that it keeps out of the list: the others are then closed. If it
   * throws, {@link onFailure} is called.
   */
  onMessage(message: Message, descriptors: number[]): void
  /** Called when the other process has closed its end, or has ended. Nothing comes after it. */
  onEnd(): void
  /** Called when a message is not valid, or cannot be received. */
  onFailure(error: Error): void
}

/**
 * One end of a handover. It does not keep the process running, unless {@link keepRunning} is called or messages wait to
 * be sent.
 */
export class Link implements Watcher {
  readonly channel: Channel
  handler: LinkHandler
  readonly #reactor = reactor()
  readonly #owner = this.#reactor.register(this)
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #isOpen = true
  #keepsRunning = false

  /** @throws {SystemError} of `epoll_ctl`; then the channel is closed */
  constructor(channel: Channel, handler: LinkHandler) {
    this.channel = channel
    this.handler = handler
    const errno = this.#reactor.add(channel.fd, EPOLLIN, this.#owner)
    if (errno === 0) return
    this.#reactor.unregister(this.#owner)
    channel.close()
    throw systemError('epoll_ctl', errno)
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Sets whether the link keeps the process running. */
  keepRunning(on: boolean): void {
    if (on === this.#keepsRunning) return
    this.#keepsRunning = on
    if (on) this.#reactor.ref()
    else this.#reactor.unref()
  }

  /** Sends a message, at once or when there is room. @returns false if too many wait, or the link is closed */
  send(message: Buffer): boolean {
    if (!this.hasRoom(message.length)) return false
    if (this.#waiting.length === 0) {
      const errno = this.channel.trySend(message)
      if (errno === 0) return true
      if (!isTemporary(errno)) return false
      this.#reactor.modify(this.channel.fd, EPOLLIN | EPOLLOUT)
      this.#reactor.ref()
    }
    // A copy: the caller may reuse its buffer.
    this.#waiting.push(Buffer.from(message))
    this.#waitingBytes += message.length
    return true
  }

  /** Whether {@link send} takes messages with this many bytes. */
  hasRoom(bytes: number): boolean {
    return this.#isOpen && this.#waitingBytes + bytes <= MOST_WAITING
  }

  /** Whether messages wait to be sent. */
  get isFull(): boolean {
    return this.#waiting.length > 0
  }

  ready(_fd: number, events: number): void {
    if ((events & EPOLLOUT) !== 0 && this.isFull) this.#flush()
    this.#receive(performance.now() + TURN)
  }

  /** Handles all messages that have come. */
  drain(): void {
    this.#receive(Number.POSITIVE_INFINITY)
  }

  /** Handles messages. What has come after `deadline` is reported again in the next turn. */
  #receive(deadline: number): void {
    while (this.#isOpen && performance.now() < deadline) {
      let received: ChannelMessage | 'end' | undefined
      try {
        received = this.channel.tryReceive()
        if (received === undefined) return
        if (received !== 'end') this.#handle(received)
      } catch (error) {
        this.handler.onFailure(error as Error)
        return
      }
      if (received === 'end') {
        this.handler.onEnd()
        return
      }
    }
  }

  #handle({ bytes, descriptors }: ChannelMessage): void {
    try {
      this.handler.onMessage(decode(bytes), descriptors)
    } finally {
      for (const fd of descriptors) closeDescriptor(fd)
    }
  }

  #flush(): void {
    let sent = 0
    for (const message of this.#waiting) {
      const errno = this.channel.trySend(message)
      if (errno !== 0 && isTemporary(errno)) break
      this.#waitingBytes -= message.length
      sent++
    }
    this.#waiting = this.#waiting.slice(sent)
    if (this.#waiting.length > 0) return
    this.#reactor.modify(this.channel.fd, EPOLLIN)
    this.#reactor.unref()
  }

  /** Stops watching the channel, and leaves it open. @returns the channel, which the caller owns */
  detach(): Channel {
    if (this.#isOpen) {
      this.#isOpen = false
      this.keepRunning(false)
      if (this.#waiting.length > 0) this.#reactor.unref()
      this.#reactor.remove(this.channel.fd)
      this.#reactor.unregister(this.#owner)
    }
    return this.channel
  }

  /** Closes the channel. */
  close(): void {
    if (this.#isOpen) this.detach().close()
  }
}
