/** Idle HTTP clients, and a probe: clients that ask, one after the other, and note how long each has waited. */
import { SocketAddress } from 'ebb/sys'
import { answer } from '../../harness/answer.mjs'
import { Crowd } from '../../harness/crowd.mjs'
import { HOST } from '../../harness/serve.mjs'

/** Connections, each with its first request, that are under way at once: fewer than a server's backlog. */
const BURST = 200
const REQUEST = Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
/** The end of a response, by which the client finds its length. */
const BODY = 'ok\n'

/** A crowd that notes how long its responses take. */
class Clients extends Crowd {
  /** Milliseconds of the longest wait since the last look. */
  longest = 0
  /** @type {NodeJS.Timeout | undefined} */
  #timer
  #next = 0
  /** When the request of a descriptor was sent. */
  #asked = new Map()

  /** @param {number} every ms between two requests */
  probe(every) {
    this.#timer = setInterval(() => {
      const fd = this.fds[this.#next++ % this.fds.length] ?? -1
      if (this.#asked.has(fd)) return
      this.#asked.set(fd, performance.now())
      this.send(fd)
    }, every)
  }

  /** Resolves when all answers have come. */
  async endProbe() {
    clearInterval(this.#timer)
    while (this.#asked.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /**
   * @override
   * @param {number} fd
   */
  ready(fd) {
    const start = this.#asked.get(fd)
    super.ready(fd)
    if (start === undefined) return
    this.#asked.delete(fd)
    this.longest = Math.max(this.longest, performance.now() - start)
  }

  /** Closes all connections. */
  leave() {
    this.closing = true
    this.close()
  }
}

let crowd = new Clients(REQUEST)

/** @typedef {typeof orders} CrowdOrders */

const orders = {
  /**
   * Connects `n` times. Each connection sends a request and receives the response.
   *
   * @param {number} port
   * @param {number} n
   */
  connect: async (port, n) => {
    crowd = new Clients(REQUEST, crowd.length)
    const address = new SocketAddress({ host: HOST, port })
    for (let left = n; left > 0; left -= BURST) {
      const burst = Array.from({ length: Math.min(BURST, left) }, () => crowd.open(address))
      for (const fd of burst) crowd.add(fd)
      if (crowd.length === 0) {
        const first = burst.pop() ?? -1
        crowd.send(first)
        crowd.length = crowd.receiveUntil(first, BODY).length
      }
      await crowd.exchange(burst)
    }
  },
  /**
   * Sends a request on every connection. Resolves when all are answered, with the ms that it took; rejects if one is
   * closed.
   */
  askAll: async () => {
    const start = performance.now()
    await crowd.exchange(crowd.fds)
    return performance.now() - start
  },
  /** Resolves with the ms until the first connection is answered. */
  askOne: async () => {
    const start = performance.now()
    await crowd.exchange(crowd.fds.slice(0, 1))
    return performance.now() - start
  },
  /**
   * Asks on one connection after the other.
   *
   * @param {number} every ms between two requests
   */
  probe: (every) => crowd.probe(every),
  endProbe: () => crowd.endProbe(),
  /** Returns the longest wait (ms) since the last look. */
  longest: () => {
    const { longest } = crowd
    crowd.longest = 0
    return longest
  },
  leave: () => crowd.leave()
}
answer(orders)
