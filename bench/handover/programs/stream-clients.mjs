/** Clients that keep a connection: server-sent events, WebSockets, an echo of TCP, and idle connections. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { get } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { HOST } from '../../harness/serve.mjs'
import { Tally } from './tally.mjs'

/** Clients of a kind, and ms between two messages of a client. */
const CLIENTS = 20
const PAUSE = 100
/** Interval (ms) of events. */
const EVERY = 50
/** Milliseconds until a client whose connection was closed connects again. */
const AGAIN = 50
/** Milliseconds after which a message without an answer has failed. */
const LOST = 10_000
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
const EVENT = /^data: (\d+)$/

/** @param {number} port */
export function events(port) {
  const tally = new Tally('server-sent events')
  for (let client = 0; client < CLIENTS; client++) void listen(tally, port)
  return tally
}

/**
 * @param {Tally} tally
 * @param {number} port
 */
async function listen(tally, port) {
  while (!tally.isOver) {
    const sent = get({ host: HOST, port, path: '/events', agent: false })
    try {
      const [response] = /** @type {[import('node:http').IncomingMessage]} */ (await once(sent, 'response'))
      await read(tally, response)
    } catch (error) {
      tally.fail(error)
    }
    tally.close()
    await wait(AGAIN)
  }
}

/**
 * Reads events until the connection is closed.
 *
 * @param {Tally} tally
 * @param {import('node:http').IncomingMessage} response
 */
async function read(tally, response) {
  let before = performance.now()
  let last = 0
  let text = ''
  for await (const bytes of response) {
    const now = performance.now()
    const parts = (text + bytes).split('\n\n')
    text = parts.pop() ?? ''
    for (const part of parts) {
      const number = Number(EVENT.exec(part)?.[1])
      tally.add(now - before - EVERY, number >= last)
      last = number
      before = now
    }
    if (tally.isOver) return
  }
}

/** @param {number} port */
export function messages(port) {
  const tally = new Tally('WebSockets')
  for (let client = 0; client < CLIENTS; client++) {
    void converse(tally, async () => {
      const socket = new WebSocket(`ws://${HOST}:${port}`)
      socket.on('error', () => {})
      await once(socket, 'open')
      return {
        socket,
        send: (bytes) => socket.send(bytes),
        close: () => socket.terminate(),
        onBytes: (then) => void socket.on('message', (/** @type {Buffer} */ bytes) => then(bytes))
      }
    })
  }
  return tally
}

/** @param {number} port */
export function echo(port) {
  const tally = new Tally('echo of TCP')
  for (let client = 0; client < CLIENTS; client++) {
    void converse(tally, async () => {
      const socket = connect(port, HOST)
      await once(socket, 'connect')
      socket.on('error', () => {})
      return {
        socket,
        send: (bytes) => void socket.write(bytes),
        close: () => void socket.destroy(),
        onBytes: (then) => void socket.on('data', then)
      }
    })
  }
  return tally
}

/**
 * A connection that answers with what it gets.
 *
 * @typedef {object} Conversation
 * @property {import('node:events').EventEmitter} socket emits `close`
 * @property {(bytes: Buffer) => void} send
 * @property {() => void} close
 * @property {(then: (bytes: Buffer) => void) => void} onBytes
 */

/**
 * Sends messages, and compares what comes back, on one connection after the other.
 *
 * @param {Tally} tally
 * @param {() => Promise<Conversation>} open
 */
async function converse(tally, open) {
  while (!tally.isOver) {
    try {
      const conversation = await open()
      const closed = once(conversation.socket, 'close').then(() => 'closed')
      while (!tally.isOver && (await exchange(tally, conversation, closed))) await wait(PAUSE)
      conversation.close()
    } catch (error) {
      tally.fail(error)
    }
    await wait(AGAIN)
  }
}

/**
 * @param {Tally} tally
 * @param {Conversation} conversation
 * @param {Promise<string>} closed
 * @returns {Promise<boolean>} whether the connection is still open
 */
async function exchange(tally, { send, onBytes, socket }, closed) {
  const message = randomBytes(64)
  /** @type {Buffer[]} */
  const parts = []
  const start = performance.now()
  /** @type {Promise<string>} */
  const answered = new Promise((resolve) => {
    onBytes((bytes) => {
      parts.push(bytes)
      if (Buffer.concat(parts).length >= message.length) resolve('answered')
    })
  })
  send(message)
  const end = await Promise.race([answered, closed, wait(LOST, 'lost', { ref: false })])
  socket.removeAllListeners('message')
  socket.removeAllListeners('data')
  if (end === 'answered') tally.add(performance.now() - start, Buffer.concat(parts).equals(message))
  else {
    if (end === 'lost') tally.fail(new Error('no answer'))
    tally.close()
  }
  return end === 'answered'
}

/**
 * Opens connections that have sent one request each. They ask again at the end.
 *
 * @param {number} port
 * @param {number} n
 */
export async function idleClients(port, n) {
  const tally = new Tally('idle connections')
  const sockets = Array.from({ length: n }, () => connect(port, HOST))
  for (const socket of sockets) {
    socket.on('error', () => {})
    socket.on('close', () => tally.close())
  }
  const askAll = () => Promise.all(sockets.map((socket) => ask(tally, socket)))
  await askAll()
  return { tally, askAll }
}

/**
 * @param {Tally} tally
 * @param {import('node:net').Socket} socket
 */
async function ask(tally, socket) {
  if (socket.destroyed) return
  socket.write(REQUEST)
  let text = ''
  while (!text.endsWith('ok\n') && !socket.destroyed) {
    const [bytes = ''] = await Promise.race([once(socket, 'data'), once(socket, 'close')])
    text += String(bytes)
  }
  tally.add(0, text.startsWith('HTTP/1.1 200') && text.endsWith('ok\n'))
}
