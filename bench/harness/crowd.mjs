/**
 * The clients of a measured server: connections as bare descriptors on the reactor, so that they take little CPU time
 * beside what they measure.
 */
import { addressOf, connectBlocking, constants, reactor, receiveAt, sendBytes, setOption, systemError } from 'ebb/sys'

/** @import { SocketAddress } from 'ebb/sys' */

/** `SO_RCVTIMEO` on Linux. */
const SO_RCVTIMEO = 20
/** Bytes of a read: more than any response. */
const READ = 65_536
/** Milliseconds after which a response counts as lost. */
const RESPONSE_TIMEOUT = 30_000
/** Descriptors that the table of missing bytes has room for. */
const DESCRIPTORS = 32_768

/** Connections that send the same message. All responses of a server have the same length. */
export class Crowd {
  /**
   * Descriptors of the connections.
   *
   * @type {number[]}
   */
  fds = []
  /** Bytes of a response; 0 while that is not known. */
  length
  /** While true, the server's FIN is no error. */
  closing = false
  /** What {@link receiveNow} has received. */
  buffer = Buffer.allocUnsafeSlow(READ)
  #bufferAt = addressOf(this.buffer)
  #reactor = reactor()
  #owner = this.#reactor.register(this)
  #message
  /** Bytes that are still to come, by descriptor. */
  #missing = new Int32Array(DESCRIPTORS)
  /** Number of connections whose bytes are still to come. */
  #waiting = 0
  /** @type {{ resolve: () => void, reject: (error: Error) => void } | undefined} */
  #done
  /** While true, each connection sends the next message when a response has come. */
  #repeat = false
  #responses = 0

  /**
   * @param {Uint8Array} message
   * @param {number} [length] bytes of a response, if that is known
   */
  constructor(message, length = 0) {
    this.#message = message
    this.length = length
    this.#reactor.ref()
  }

  /**
   * Exchanges a message on each of the connections `from` to `to`, one after the other. Returns the times in us from
   * the write to the first byte of the response.
   *
   * @param {number} from
   * @param {number} to
   */
  turns(from, to) {
    return this.fds.slice(from, to).map((fd) => this.turn(fd))
  }

  /**
   * Sends a message and sleeps until the response has come. Returns the us until its first byte.
   *
   * @param {number} fd
   */
  turn(fd) {
    const start = performance.now()
    this.send(fd)
    let left = this.length - this.receiveNow(fd)
    const first = performance.now()
    while (left > 0) left -= this.receiveNow(fd)
    return (first - start) * 1000
  }

  /**
   * Resolves when every connection has received `bytes` that it did not ask for.
   *
   * @param {number} bytes
   */
  expect(bytes) {
    return this.#receive(this.fds, bytes)
  }

  /**
   * Has each connection send the next message as soon as the response has come, for `ms`. Resolves with the number of
   * responses, responses per second, and the CPU time of this process in ms.
   *
   * @param {number} ms
   */
  async pingPong(ms) {
    this.#repeat = true
    this.#responses = 0
    const cpu = process.cpuUsage()
    const start = performance.now()
    setTimeout(() => {
      this.#repeat = false
    }, ms)
    await this.exchange(this.fds)
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    return { total: this.#responses, perSecond: this.#responses / seconds, cpu: (user + system) / 1000 }
  }

  /**
   * Called by the reactor.
   *
   * @param {number} fd
   */
  ready(fd) {
    const received = receiveAt(fd, this.#bufferAt, READ)
    if (received <= 0) {
      if (received === 0 && this.closing) return
      this.#reactor.close(fd)
      this.#fail(new Error(`the server closed a connection (${received === 0 ? 'FIN' : -received})`))
      return
    }
    const missing = (this.#missing[fd] ?? 0) - received
    this.#missing[fd] = missing
    if (missing > 0) return
    this.#responses++
    if (this.#repeat) {
      this.#missing[fd] = this.length
      this.send(fd)
    } else if (--this.#waiting === 0) this.#done?.resolve()
  }

  /**
   * Connects a blocking socket. Over loopback the connect returns at once.
   *
   * @param {SocketAddress} address
   */
  open(address) {
    const fd = connectBlocking(address)
    // The value is a `struct timeval`: two 64-bit numbers.
    setOption(fd, constants.SOL_SOCKET, SO_RCVTIMEO, RESPONSE_TIMEOUT / 1000, 0, 0, 0)
    return fd
  }

  /**
   * Adds a connection.
   *
   * @param {number} fd
   */
  add(fd) {
    // Edge-triggered, because the kernel then checks each socket once less. One read is enough: it takes all that a
    // server sends at once.
    const errno = this.#reactor.add(fd, constants.EPOLLIN | constants.EPOLLET, this.#owner)
    if (errno !== 0) throw systemError('epoll_ctl', errno)
    this.fds.push(fd)
  }

  /** Closes all connections. */
  close() {
    for (const fd of this.fds.splice(0)) this.#reactor.close(fd)
  }

  /**
   * Sends bytes on each of the descriptors and resolves when each has received `length` bytes. By default sends the
   * message and waits for its response.
   *
   * @param {readonly number[]} fds
   * @param {Uint8Array} [bytes]
   * @param {number} [length]
   */
  async exchange(fds, bytes = this.#message, length = this.length) {
    const received = this.#receive(fds, length)
    for (const fd of fds) this.send(fd, bytes)
    await received
  }

  /**
   * Resolves when each of the descriptors has received `bytes`.
   *
   * @param {readonly number[]} fds
   * @param {number} bytes
   * @returns {Promise<void>}
   */
  #receive(fds, bytes) {
    if (fds.length === 0) return Promise.resolve()
    for (const fd of fds) this.#missing[fd] = bytes
    this.#waiting = fds.length
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail(new Error(`${this.#waiting} of ${fds.length} connections got no response`)),
        RESPONSE_TIMEOUT
      )
      this.#done = {
        resolve: () => {
          clearTimeout(timer)
          resolve()
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        }
      }
    })
  }

  /** @param {Error} error */
  #fail(error) {
    this.#done?.reject(error)
    this.#done = undefined
  }

  /**
   * @param {number} fd
   * @param {Uint8Array} [bytes] the message, if left out
   */
  send(fd, bytes = this.#message) {
    const sent = sendBytes(fd, bytes)
    if (sent < 0) throw systemError('send', -sent)
  }

  /**
   * Sleeps in the kernel until bytes come, so that the measured time contains no event loop of this process.
   *
   * @param {number} fd
   */
  receiveNow(fd) {
    const received = receiveAt(fd, this.#bufferAt, READ)
    if (received === 0) throw new Error('the server closed a connection')
    // EAGAIN means that no response came within SO_RCVTIMEO.
    if (received < 0) throw systemError('recv', -received)
    return received
  }

  /**
   * Sleeps until bytes that end with `end` have come, and returns them.
   *
   * @param {number} fd
   * @param {string} end
   */
  receiveUntil(fd, end) {
    let text = ''
    while (!text.endsWith(end)) text += this.buffer.toString('latin1', 0, this.receiveNow(fd))
    return text
  }
}
