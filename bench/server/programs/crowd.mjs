/**
 * The clients: connections as bare descriptors on the reactor, so that they take little CPU time beside what they
 * measure. They are the same for every server.
 */
import {
  addressOf,
  connectBlocking,
  constants,
  reactor,
  receiveAt,
  SocketAddress,
  sendBytes,
  setOption,
  systemError
} from 'ebb/sys'
import { answer, given } from '../../harness/answer.mjs'
import { HOST } from '../../harness/serve.mjs'

/** `SO_RCVTIMEO` on Linux. */
const SO_RCVTIMEO = 20
/** Connects, each with its first message, that are under way at once: fewer than a server's backlog. */
const BURST = 200
/** Bytes of a read: more than any response. */
const READ = 65_536
/** Milliseconds after which a response counts as lost. */
const RESPONSE_TIMEOUT = 30_000
/** Descriptors that the table of missing bytes has room for. */
const DESCRIPTORS = 32_768

/** The end of an HTTP response, by which the client finds its length. */
const BODY = 'ok\n'

/** @typedef {'http' | 'tcp'} Protocol */

const MESSAGES = {
  http: Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  tcp: Buffer.alloc(64, 'm')
}

class Crowd {
  #reactor = reactor()
  #owner = this.#reactor.register(this)
  #message
  /** Bytes of a response, 0 until the first one has come. All responses of a server have the same length. */
  #length
  /** @type {number[]} */
  #fds = []
  #buffer = Buffer.allocUnsafeSlow(READ)
  #bufferAt = addressOf(this.#buffer)
  /** Bytes that are still to come, by descriptor. */
  #missing = new Int32Array(DESCRIPTORS)
  /** Number of connections whose bytes are still to come. */
  #waiting = 0
  /** @type {{ resolve: () => void, reject: (error: Error) => void } | undefined} */
  #done
  /** While true, each connection sends the next message when a response has come. */
  #repeat = false
  #responses = 0

  /** @param {Protocol} protocol */
  constructor(protocol) {
    this.#message = MESSAGES[protocol]
    this.#length = protocol === 'tcp' ? this.#message.length : 0
  }

  /**
   * Connects `n` times. Each connection sends a message and receives the response.
   *
   * @param {number} port
   * @param {number} n
   */
  async connect(port, n) {
    this.#reactor.ref()
    const address = new SocketAddress({ host: HOST, port })
    for (let left = n; left > 0; left -= BURST) {
      const burst = Array.from({ length: Math.min(BURST, left) }, () => this.#connect(address))
      if (this.#length === 0) {
        const first = burst.pop()
        if (first !== undefined) this.#length = this.#learnLength(first)
      }
      await this.#exchange(burst)
    }
  }

  /** Has all connections send a message at once. Resolves with the ms from the first byte sent to the last response. */
  async storm() {
    const start = performance.now()
    await this.#exchange(this.#fds)
    return performance.now() - start
  }

  /**
   * Exchanges a message on each of the connections `from` to `to`, one after the other. Returns the times in us from
   * the write to the first byte of the response.
   *
   * @param {number} from
   * @param {number} to
   */
  turns(from, to) {
    return this.#fds.slice(from, to).map((fd) => {
      const start = performance.now()
      this.#send(fd)
      let left = this.#length - this.#receiveNow(fd)
      const first = performance.now()
      while (left > 0) left -= this.#receiveNow(fd)
      return (first - start) * 1000
    })
  }

  /**
   * Resolves when every connection has received `bytes` that it did not ask for.
   *
   * @param {number} bytes
   */
  expect(bytes) {
    return this.#receive(this.#fds, bytes)
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
    await this.#exchange(this.#fds)
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
      this.#reactor.close(fd)
      this.#fail(new Error(`the server closed a connection (${received === 0 ? 'FIN' : -received})`))
      return
    }
    const missing = (this.#missing[fd] ?? 0) - received
    this.#missing[fd] = missing
    if (missing > 0) return
    this.#responses++
    if (this.#repeat) {
      this.#missing[fd] = this.#length
      this.#send(fd)
    } else if (--this.#waiting === 0) this.#done?.resolve()
  }

  /**
   * Connects a blocking socket. Over loopback the connect returns at once.
   *
   * @param {SocketAddress} address
   */
  #connect(address) {
    const fd = connectBlocking(address)
    // The value is a `struct timeval`: two 64-bit numbers.
    setOption(fd, constants.SOL_SOCKET, SO_RCVTIMEO, RESPONSE_TIMEOUT / 1000, 0, 0, 0)
    // Edge-triggered, because the kernel then checks each socket once less. One read is enough: it takes all that a
    // server sends at once.
    const errno = this.#reactor.add(fd, constants.EPOLLIN | constants.EPOLLET, this.#owner)
    if (errno !== 0) throw systemError('epoll_ctl', errno)
    this.#fds.push(fd)
    return fd
  }

  /** @param {readonly number[]} fds */
  async #exchange(fds) {
    const received = this.#receive(fds, this.#length)
    for (const fd of fds) this.#send(fd)
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

  /** @param {number} fd */
  #send(fd) {
    const sent = sendBytes(fd, this.#message)
    if (sent < 0) throw systemError('send', -sent)
  }

  /**
   * Sleeps in the kernel until bytes come, so that the measured time contains no event loop of this process.
   *
   * @param {number} fd
   */
  #receiveNow(fd) {
    const received = receiveAt(fd, this.#bufferAt, READ)
    if (received === 0) throw new Error('the server closed a connection')
    // EAGAIN means that no response came within SO_RCVTIMEO.
    if (received < 0) throw systemError('recv', -received)
    return received
  }

  /**
   * Sends a message and returns the length of the response.
   *
   * @param {number} fd
   */
  #learnLength(fd) {
    this.#send(fd)
    let text = ''
    while (!text.endsWith(BODY)) text += this.#buffer.toString('latin1', 0, this.#receiveNow(fd))
    return text.length
  }
}

/** @typedef {typeof orders} CrowdOrders */

const [protocol] = /** @type {[Protocol]} */ (given)
const crowd = new Crowd(protocol)
const orders = {
  /**
   * @param {number} port
   * @param {number} n
   */
  connect: (port, n) => crowd.connect(port, n),
  storm: () => crowd.storm(),
  /**
   * @param {number} from
   * @param {number} to
   */
  turns: (from, to) => crowd.turns(from, to),
  /** @param {number} bytes */
  expect: (bytes) => crowd.expect(bytes),
  /** @param {number} ms */
  pingPong: (ms) => crowd.pingPong(ms)
}
answer(orders)
