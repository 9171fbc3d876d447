import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { descriptors, until } from '../../../../../test/support/sockets.js'
import { clientFor, portOf, rawServer, saying } from '../testing/speaking.js'

interface Peer {
  port: number
  sockets: Set<WebSocket>
  /** Codes with which the clients closed. */
  closed: number[]
}

async function server(
  onSocket: (socket: WebSocket) => void = () => {},
  options: ConstructorParameters<typeof WebSocketServer>[0] = {}
): Promise<Peer> {
  const http = createServer()
  const web = new WebSocketServer({ server: http, ...options })
  const peer: Peer = { port: await portOf(http), sockets: new Set(), closed: [] }
  web.on('connection', (socket) => {
    peer.sockets.add(socket)
    socket
      .on('error', () => {})
      .on('close', (code) => {
        peer.closed.push(code)
        peer.sockets.delete(socket)
      })
    onSocket(socket)
  })
  onTestFinished(() => {
    for (const socket of peer.sockets) socket.terminate()
  })
  return peer
}

test('opens WebSockets, and closes them with 1000', async () => {
  const { port, sockets, closed } = await server()
  const client = clientFor(`ws://127.0.0.1:${port}/chat`)
  const before = descriptors()
  expect(await client.connect(50)).toMatchObject({ connected: 50, failed: {} })
  await until(() => sockets.size === 50)
  await client.close()
  await until(() => closed.length === 50)
  expect(new Set(closed)).toEqual(new Set([1000]))
  expect(await client.takeLost()).toEqual({})
  await until(() => descriptors() === before)
})

test('asks with path, headers and subprotocols', async () => {
  const asked: unknown[] = []
  const { port } = await server(undefined, {
    verifyClient: ({ req: { url, headers } }: { req: IncomingMessage }) => {
      asked.push([url, headers.origin, headers.authorization, headers['sec-websocket-protocol'], headers.host])
      return true
    },
    handleProtocols: () => 'b'
  })
  const options = { headers: [['Origin', 'http://{id}.example']] as const, subprotocols: ['a', 'b'] }
  const client = clientFor(`ws://user:p%40ss@127.0.0.1:${port}/x?y={id}`, options)
  expect(await client.connect(1)).toMatchObject({ connected: 1 })
  const credentials = `Basic ${Buffer.from('user:p@ss').toString('base64')}`
  expect(asked).toEqual([['/x?y=0', 'http://0.example', credentials, 'a, b', `127.0.0.1:${port}`]])
})

test.each([
  ['short', 'hello'],
  ['of 300 bytes', 'ä'.repeat(150)],
  ['of 100,000 bytes', 'x'.repeat(100_000)],
  ['with placeholders', '{id} {n} {time}'],
  ['binary', Buffer.from([0, 255, 1])]
])('sends a message %s again and again, and compares the echo', async (_, payload) => {
  const kinds = new Set<boolean>()
  const { port } = await server((socket) =>
    socket.on('message', (message, isBinary) => {
      kinds.add(isBinary)
      socket.send(message, { binary: isBinary })
    })
  )
  const client = clientFor(`ws://127.0.0.1:${port}`, { payload, every: 5, expectEcho: true })
  expect(await client.connect(4)).toMatchObject({ connected: 4, echoed: 4, unanswered: {} })
  let answered = 0
  await until(() => {
    const traffic = client.takeTraffic()
    answered += traffic.answered
    expect(traffic.unanswered).toEqual({})
    return answered > 20
  })
  expect(kinds).toEqual(new Set([typeof payload !== 'string']))
})

test('reads fragments and messages that it did not ask for', async () => {
  const { port } = await server((socket) => {
    socket.send('welcome')
    socket.on('message', (message: Buffer) => {
      socket.send(message.subarray(0, 2), { fin: false, binary: false })
      socket.ping()
      socket.send(message.subarray(2), { binary: false })
    })
  })
  const client = clientFor(`ws://127.0.0.1:${port}`, { payload: 'hello', expectEcho: true })
  // The welcome comes before the message is sent, or is taken for an answer to it.
  const { echoed, unanswered } = await client.connect(1)
  const { received } = client.takeTraffic()
  expect([echoed, received, unanswered]).toEqual(received === 1 ? [1, 1, {}] : [0, 0, { MISMATCH: 1 }])
})

test('answers pings, and sends its own', async () => {
  let pongs = 0
  const { port } = await server((socket) => {
    socket.on('pong', (data: Buffer) => {
      expect(data.toString()).toBe('are you there')
      pongs++
    })
    socket.ping('are you there')
  })
  const client = clientFor(`ws://127.0.0.1:${port}`, { ping: 20 })
  await client.connect(5)
  const sum = { pings: 0, pongs: 0 }
  await until(() => {
    const traffic = client.takeTraffic()
    sum.pings += traffic.pings
    sum.pongs += traffic.pongs
    return sum.pongs >= 20
  })
  expect(sum.pings).toBeGreaterThanOrEqual(sum.pongs)
  expect(pongs).toBe(5)
  expect(client.open).toBe(5)
})

test('loses connections whose pings are not answered', async () => {
  const { port } = await server(undefined, { autoPong: false })
  const client = clientFor(`ws://127.0.0.1:${port}`, { ping: 20, timeout: 150 })
  await client.connect(3)
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ NO_PONG: 3 })
})

test('counts the codes with which the server closes', async () => {
  const { port, closed } = await server((socket) => setTimeout(() => socket.close(1001, 'bye'), 20))
  const client = clientFor(`ws://127.0.0.1:${port}`)
  await client.connect(3)
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ WS_1001: 3 })
  await until(() => closed.length === 3)
  expect(new Set(closed)).toEqual(new Set([1001]))
})

test('a message that comes back changed is a mismatch', async () => {
  const { port } = await server((socket) => socket.on('message', () => socket.send('other')))
  const client = clientFor(`ws://127.0.0.1:${port}`, { payload: 'hello', expectEcho: true })
  expect(await client.connect(2)).toMatchObject({ connected: 2, echoed: 0, unanswered: { MISMATCH: 2 } })
})

/** Answers the handshake with these headers; `ACCEPT` stands for the right value. */
function handshake(headers: string, then: (socket: Socket) => void = () => {}): Promise<number> {
  return rawServer((socket) => {
    socket.once('data', (data) => {
      const key = /^Sec-WebSocket-Key: (.*)\r$/m.exec(data.toString())?.[1]
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      const text = `HTTP/1.1 101 Switching\r\n${headers.replace('ACCEPT', accept)}\r\n\r\n`
      socket.write(text, () => then(socket))
    })
  })
}

const GOOD = 'Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\nsec-websocket-accept: ACCEPT'

test('accepts headers in any case, and frames that follow at once', async () => {
  const port = await handshake(`${GOOD}\r\nServer: x`, (socket) => socket.write(Buffer.from([0x81, 1, 0x61, 0x89, 0])))
  const client = clientFor(`ws://127.0.0.1:${port}`)
  expect(await client.connect(3)).toMatchObject({ connected: 3 })
  let received = 0
  await until(() => {
    received += client.takeTraffic().received
    return received === 3
  })
})

test.each([
  ['no headers', 'A: b'],
  ['another key', GOOD.replace('ACCEPT', 'AAAA')],
  ['no upgrade', GOOD.replace('WebSocket', 'h2c')],
  ['no connection', GOOD.replace('upgrade', 'close')],
  ['a subprotocol that was not asked for', `${GOOD}\r\nSec-WebSocket-Protocol: x`],
  ['an extension that was not asked for', `${GOOD}\r\nSec-WebSocket-Extensions: permessage-deflate`]
])('refuses a handshake with %s', async (_, headers) => {
  const client = clientFor(`ws://127.0.0.1:${await handshake(headers)}`)
  expect(await client.connect(3)).toMatchObject({ connected: 0, failed: { WS_HANDSHAKE: 3 } })
})

test('refuses a handshake without the subprotocol that it asked for', async () => {
  const client = clientFor(`ws://127.0.0.1:${await handshake(GOOD)}`, { subprotocols: ['a'] })
  expect(await client.connect(1)).toMatchObject({ failed: { WS_HANDSHAKE: 1 } })
})

test.each([
  ['a page', ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'], 'hold', 'HTTP_200'],
  ['a refusal', ['HTTP/1.1 403 Forbidden\r\n\r\n'], 'end', 'HTTP_403'],
  ['garbage', ['SSH-2.0-OpenSSH\r\n'], 'hold', 'GARBAGE'],
  ['half an answer', ['HTTP/1.1 101 Swi'], 'end', 'TRUNCATED'],
  ['nothing', [], 'end', 'FIN']
] as const)('fails if the handshake is answered with %s', async (_, parts, then, cause) => {
  const client = clientFor(`ws://127.0.0.1:${await saying(parts, then)}`)
  expect(await client.connect(3)).toMatchObject({ connected: 0, failed: { [cause]: 3 } })
})

test('fails if the handshake is not answered in time', async () => {
  const port = await rawServer((socket) => void socket.resume())
  expect(await clientFor(`ws://127.0.0.1:${port}`, { timeout: 150 }).connect(3)).toMatchObject({
    connected: 0,
    failed: { TIMEOUT: 3 }
  })
})

test.each([
  ['a mask', [0x81, 0x81, 0, 0, 0, 0, 0x61]],
  ['an unknown opcode', [0x83, 0]],
  ['a length of 16 exabytes', [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]],
  ['a close code that is none', [0x88, 2, 0, 0]]
])('loses connections that get a frame with %s', async (_, frame) => {
  const answers: Buffer[] = []
  const port = await handshake(GOOD, (socket) => {
    socket.on('data', (data: Buffer) => answers.push(data))
    socket.write(Buffer.from(frame))
  })
  const client = clientFor(`ws://127.0.0.1:${port}`)
  await client.connect(1)
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ WS_FRAME: 1 })
  await until(() => answers.length > 0)
  expect((answers[0] as Buffer)[0]).toBe(0x88)
})

test('half a frame, then nothing', async () => {
  const port = await handshake(GOOD, (socket) => socket.end(Buffer.from([0x81, 5, 0x61])))
  const client = clientFor(`ws://127.0.0.1:${port}`)
  await client.connect(2)
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ TRUNCATED: 2 })
})

test('a server that stops reading is said to do so', async () => {
  const { port } = await server((socket) => socket.pause())
  const client = clientFor(`ws://127.0.0.1:${port}`, { payload: 'x'.repeat(4_000_000), every: 10, timeout: 200 })
  expect(await client.connect(2)).toMatchObject({ connected: 2, unanswered: { STALLED: 2 } })
  expect(client.open).toBe(0)
  expect(await client.takeLost()).toEqual({})
})
