/** The clients, which are the same for every server. */
import { deflateRawSync, constants as zlib } from 'node:zlib'
import { SocketAddress } from 'ebb/sys'
import { answer, given } from '../../harness/answer.mjs'
import { Crowd } from '../../harness/crowd.mjs'
import { HOST } from '../../harness/serve.mjs'

/** @import { Protocol } from '../list.mjs' */

/** Bytes of a header of the server's frames, which are shorter than 126 bytes. */
const HEADER = 2

const [protocol, deflate] = /** @type {[Protocol, boolean]} */ (given)
const isSocketIo = protocol === 'socket.io'

const REQUEST = [
  `GET ${isSocketIo ? '/socket.io/?EIO=4&transport=websocket' : '/'} HTTP/1.1`,
  `Host: ${HOST}`,
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Version: 13',
  ...(deflate ? ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'] : []),
  '\r\n'
].join('\r\n')
/** What the response to the request ends with. The server of socket.io sends a packet at once. */
const RESPONSE_END = isSocketIo ? '"maxPayload":1000000}' : '\r\n\r\n'
/** The packet of socket.io that joins a namespace, and what the packet that answers it ends with. */
const JOIN = frame(0x81, Buffer.from('40'))
const JOINED = '"}'

/** A message of 64 bytes. Compressed, it stands for itself, whatever was negotiated. */
const TEXT = 'a message '.repeat(7).slice(0, 64)
const MESSAGE = deflate
  ? frame(0xc1, deflateRawSync(TEXT, { finishFlush: zlib.Z_SYNC_FLUSH }).subarray(0, -4))
  : frame(0x81, Buffer.from(isSocketIo ? `42["m","${TEXT}"]` : TEXT))
const CLOSE = frame(0x88, Buffer.from([0x03, 0xe8]))

/**
 * Returns a frame of a client. Its mask is 0, which changes nothing.
 *
 * @param {number} first
 * @param {Buffer} payload
 */
function frame(first, payload) {
  return Buffer.concat([Buffer.from([first, 0x80 | payload.length, 0, 0, 0, 0]), payload])
}

const crowd = new Crowd(MESSAGE)

/**
 * Opens a connection, does the handshake, and exchanges a message.
 *
 * @param {SocketAddress} address
 */
function connect(address) {
  const fd = crowd.open(address)
  crowd.send(fd, Buffer.from(REQUEST))
  const head = crowd.receiveUntil(fd, RESPONSE_END)
  if (!head.startsWith('HTTP/1.1 101')) throw new Error(`the server answered ${head}`)
  if (isSocketIo) {
    crowd.send(fd, JOIN)
    crowd.receiveUntil(fd, JOINED)
  }
  if (crowd.length === 0) learnLength(fd)
  else crowd.turn(fd)
  crowd.add(fd)
}

/**
 * Exchanges a message, and notes the length of the response, which stands in its header.
 *
 * @param {number} fd
 */
function learnLength(fd) {
  crowd.send(fd)
  let received = crowd.receiveNow(fd)
  crowd.length = HEADER + (crowd.buffer[1] ?? 0)
  while (received < crowd.length) received += crowd.receiveNow(fd)
}

/** @typedef {typeof orders} CrowdOrders */

const orders = {
  /**
   * Opens connections, one after the other. Each exchanges a message.
   *
   * @param {number} port
   * @param {number} n
   */
  connect: (port, n) => {
    const address = new SocketAddress({ host: HOST, port })
    for (let i = 0; i < n; i++) connect(address)
  },
  /**
   * @param {number} from
   * @param {number} to
   */
  turns: (from, to) => crowd.turns(from, to),
  /** @param {number} bytes */
  expect: (bytes) => crowd.expect(bytes),
  /** @param {number} ms */
  pingPong: (ms) => crowd.pingPong(ms),
  /** Does the closing handshake of each connection. */
  closeAll: async () => {
    crowd.closing = true
    // The server's frame has no mask.
    await crowd.exchange(crowd.fds, CLOSE, CLOSE.length - 4)
    crowd.close()
    crowd.closing = false
  }
}
answer(orders)
