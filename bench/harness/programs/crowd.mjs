/** The clients, which are the same for every server. */
import { SocketAddress } from 'ebb/sys'
import { answer, given } from '../answer.mjs'
import { Crowd } from '../crowd.mjs'
import { HOST } from '../serve.mjs'

/** Connects, each with its first message, that are under way at once: fewer than a server's backlog. */
const BURST = 200
/** The end of an HTTP response, by which the client finds its length. */
const BODY = 'ok\n'

/** @typedef {'http' | 'tcp'} Protocol */

const MESSAGES = {
  http: Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  tcp: Buffer.alloc(64, 'm')
}

const [protocol] = /** @type {[Protocol]} */ (given)
const crowd = new Crowd(MESSAGES[protocol], protocol === 'tcp' ? MESSAGES.tcp.length : 0)

/**
 * Opens a connection, without a message.
 *
 * @param {SocketAddress} address
 */
function open(address) {
  const fd = crowd.open(address)
  crowd.add(fd)
  return fd
}

/**
 * Sends a message and returns the length of the response.
 *
 * @param {number} fd
 */
function learnLength(fd) {
  crowd.send(fd)
  return crowd.receiveUntil(fd, BODY).length
}

/** @typedef {typeof orders} CrowdOrders */

const orders = {
  /**
   * Connects `n` times. Each connection sends a message and receives the response.
   *
   * @param {number} port
   * @param {number} n
   */
  connect: async (port, n) => {
    const address = new SocketAddress({ host: HOST, port })
    for (let left = n; left > 0; left -= BURST) {
      const burst = Array.from({ length: Math.min(BURST, left) }, () => open(address))
      if (crowd.length === 0) {
        const first = burst.pop()
        if (first !== undefined) crowd.length = learnLength(first)
      }
      await crowd.exchange(burst)
    }
  },
  /** Has all connections send a message at once. Resolves with the ms from the first byte sent to the last response. */
  storm: async () => {
    const start = performance.now()
    await crowd.exchange(crowd.fds)
    return performance.now() - start
  },
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
