/**
 * The clients: connections as bare descriptors on the reactor, so that they take little CPU time beside what they
 * measure. They are the same for every server.
 */
import { deflateRawSync, constants as zlib } from 'node:zlib'
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

const HOST = '127.0.0.1'
/** `SO_RCVTIMEO` on Linux. */
const SO_RCVTIMEO = 20
/** Bytes of a read: more than any response. */
const READ = 65_536
/** Milliseconds after which a response counts as lost. */
const RESPONSE_TIMEOUT = 30_000
/** Descriptors that the table of missing bytes has room for. */
const DESCRIPTORS = 32_768
/** Bytes of a header of the server's frames, which are shorter than 126 bytes. */
const HEADER = 2

const [deflate] = /** @type {[boolean]} */ (given)

const REQUEST = [
  'GET / HTTP/1.1',
  `Host: ${HOST}`,
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  'Sec-WebSocket-Version: 13',
  ...(deflate ? ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'] : []),
  '\r\n'
].join('\r\n')

/** A message of 64 bytes. Compressed, it stands for itself, whatever was negotiated. */
const TEXT = Buffer.alloc(64, 'a message ')
const MESSAGE = deflate
  ? frame(0xc1, deflateRawSync(TEXT, { finishFlush: zlib.Z_SYNC_FLUSH }).subarray(0, -4))
  : frame(0x81, TEXT)
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

const buffer = Buffer.allocUnsafeSlow(READ)
const bufferAt = addressOf(buffer)
/** @type {number[]} */
const fds = []
/** Bytes that are still to come, by descriptor. */
const missing = new Int32Array(DESCRIPTORS)
/** Bytes of a response to a message; 0 until the first one has come. */
let length = 0
/** Number of connections whose bytes are still to come. */
let waiting = 0
/** While true, each connection sends the next message when a response has come. */
let repeat = false
let responses = 0
/** While true, the server's FIN is no error. */
let closing = false
/** @type {{ resolve: () => void, reject: (error: Error) => void } | undefined} */
let done

const events = reactor()
const owner = events.register({ ready })
events.ref()

/**
 * Called by the reactor.
 *
 * @param {number} fd
 */
function ready(fd) {
  const received = receiveAt(fd, bufferAt, READ)
  if (received <= 0) {
    if (received < 0 || !closing) {
      done?.reject(new Error(`the server closed a connection (${received === 0 ? 'FIN' : -received})`))
    }
    return
  }
  const left = (missing[fd] ?? 0) - received
  missing[fd] = left
  if (left > 0) return
  responses++
  if (repeat) {
    missing[fd] = length
    send(fd, MESSAGE)
  } else if (--waiting === 0) done?.resolve()
}

/**
 * @param {number} fd
 * @param {Uint8Array} bytes
 */
function send(fd, bytes) {
  const sent = sendBytes(fd, bytes)
  if (sent < 0) throw systemError('send', -sent)
}

/**
 * Sleeps in the kernel until bytes come, so that the measured time contains no event loop of this process.
 *
 * @param {number} fd
 */
function receiveNow(fd) {
  const received = receiveAt(fd, bufferAt, READ)
  if (received === 0) throw new Error('the server closed a connection')
  // EAGAIN means that no response came within SO_RCVTIMEO.
  if (received < 0) throw systemError('recv', -received)
  return received
}

/**
 * Sends a message and sleeps until the response has come. Returns the us until its first byte.
 *
 * @param {number} fd
 */
function exchange(fd) {
  const start = performance.now()
  send(fd, MESSAGE)
  let received = receiveNow(fd)
  const first = performance.now()
  if (length === 0) length = HEADER + (buffer[1] ?? 0)
  while (received < length) received += receiveNow(fd)
  return (first - start) * 1000
}

/**
 * Opens a connection, does the handshake, and exchanges a message.
 *
 * @param {SocketAddress} address
 */
function connect(address) {
  const fd = connectBlocking(address)
  // The value is a `struct timeval`: two 64-bit numbers.
  setOption(fd, constants.SOL_SOCKET, SO_RCVTIMEO, RESPONSE_TIMEOUT / 1000, 0, 0, 0)
  send(fd, Buffer.from(REQUEST))
  let head = ''
  while (!head.endsWith('\r\n\r\n')) head += buffer.toString('latin1', 0, receiveNow(fd))
  if (!head.startsWith('HTTP/1.1 101')) throw new Error(`the server answered ${head}`)
  exchange(fd)
  // Edge-triggered, because the kernel then checks each socket once less. One read is enough: it takes all that a
  // server sends at once.
  const errno = events.add(fd, constants.EPOLLIN | constants.EPOLLET, owner)
  if (errno !== 0) throw systemError('epoll_ctl', errno)
  fds.push(fd)
}

/**
 * Resolves when each connection has received `bytes`.
 *
 * @param {number} bytes
 */
async function expect(bytes) {
  for (const fd of fds) missing[fd] = bytes
  waiting = fds.length
  const timer = setTimeout(
    () => done?.reject(new Error(`${waiting} of ${fds.length} connections got no response`)),
    RESPONSE_TIMEOUT
  )
  try {
    await /** @type {Promise<void>} */ (
      new Promise((resolve, reject) => {
        done = { resolve, reject }
      })
    )
  } finally {
    clearTimeout(timer)
  }
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
   * Exchanges a message on each of the connections `from` to `to`, one after the other. Returns the times in us from
   * the write to the first byte of the response.
   *
   * @param {number} from
   * @param {number} to
   */
  turns: (from, to) => fds.slice(from, to).map(exchange),
  /**
   * Resolves when every connection has received `bytes` that it did not ask for.
   *
   * @param {number} bytes
   */
  expect: (bytes) => expect(bytes),
  /**
   * Has each connection send the next message as soon as the response has come, for `ms`. Resolves with the number of
   * responses.
   *
   * @param {number} ms
   */
  pingPong: async (ms) => {
    repeat = true
    responses = 0
    setTimeout(() => {
      repeat = false
    }, ms)
    const all = expect(length)
    for (const fd of fds) send(fd, MESSAGE)
    await all
    return { total: responses }
  },
  /** Does the closing handshake of each connection. */
  closeAll: async () => {
    closing = true
    // The server's frame has no mask.
    const all = expect(CLOSE.length - 4)
    for (const fd of fds) send(fd, CLOSE)
    await all
    for (const fd of fds.splice(0)) events.close(fd)
  }
}
answer(orders)
