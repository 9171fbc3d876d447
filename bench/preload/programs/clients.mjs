/** The clients: connections that stay open after one exchange. */
import { SocketAddress } from 'ebb/sys'
import { answer, given } from '../../harness/answer.mjs'
import { Crowd } from '../../harness/crowd.mjs'
import { HOST } from '../../harness/serve.mjs'

const HTTP = ['GET / HTTP/1.1', `Host: ${HOST}`, '\r\n'].join('\r\n')
const WS = [
  'GET / HTTP/1.1',
  `Host: ${HOST}`,
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Version: 13',
  '\r\n'
].join('\r\n')
/** A text of 5 bytes, with a mask of 0. */
const MESSAGE = Buffer.from([0x81, 0x85, 0, 0, 0, 0, ...Buffer.from('hello')])

const [protocol] = /** @type {['express' | 'ws']} */ (given)
const crowd = new Crowd(MESSAGE)

const orders = {
  /**
   * Opens connections, one after the other. Each exchanges a request or a message.
   *
   * @param {number} port
   * @param {number} n
   */
  connect: (port, n) => {
    const address = new SocketAddress({ host: HOST, port })
    for (let i = 0; i < n; i++) {
      const fd = crowd.open(address)
      crowd.send(fd, Buffer.from(protocol === 'ws' ? WS : HTTP))
      crowd.receiveUntil(fd, protocol === 'ws' ? '\r\n\r\n' : 'hello')
      if (protocol === 'ws') {
        crowd.send(fd)
        crowd.receiveUntil(fd, 'hello')
      }
      crowd.add(fd)
    }
  }
}

/** @typedef {typeof orders} ClientOrders */

answer(orders)
