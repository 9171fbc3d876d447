import http from 'node:http'
import type { Socket } from 'node:net'
import { type ParkOptions, park } from 'ebb'
import { createServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import { Child } from '../support/child.js'
import { descriptorsReturn } from '../support/net-parity.js'
import { client, listening } from '../support/parked.js'
import { readExactly, until } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 25
type Carrying = Socket & { user?: { name: string; count: number }; token?: string; other?: string } & Record<
    symbol,
    unknown
  >

test('named properties are on the next socket before connection is emitted', async () => {
  const key = Symbol('library')
  const seen: unknown[] = []
  const server = await listening(
    createServer({ idle: IDLE, carry: ['user', 'token', key] }, (bare, connection) => {
      const socket = bare as Carrying
      seen.push([
        connection.wakes,
        socket.user?.count,
        socket.token,
        socket[key],
        socket.other,
        Object.hasOwn(socket, 'token')
      ])
      socket.user ??= { name: 'x', count: 0 }
      socket.user.count++
      if (connection.wakes === 1) socket[key] = 'symbol'
      if (connection.wakes === 2) socket.token = 'secret'
      if (connection.wakes === 3) delete socket.token
      socket.on('data', (bytes) => socket.write(bytes))
    })
  )
  const socket = await client(server)
  for (let i = 1; i <= 4; i++) {
    socket.write('x')
    await readExactly(socket, 1)
    await until(() => server.stats().parkedAgain === i)
  }
  expect(seen).toEqual([
    [1, undefined, undefined, undefined, undefined, false],
    [2, 1, undefined, 'symbol', undefined, false],
    [3, 2, 'secret', 'symbol', undefined, true],
    [4, 3, undefined, 'symbol', undefined, false]
  ])
})

test('another connection in the same row gets nothing, and nothing is kept for it', async () => {
  const server = await listening(
    park(
      http.createServer((request, response) => {
        const socket = request.socket as Carrying
        response.end(String(socket.user?.name))
        socket.user = { name: request.url as string, count: 0 }
      }),
      { idle: IDLE, carry: ['user'] }
    )
  )
  for (const name of ['/one', '/two']) {
    const socket = await client(server)
    const { parkedAgain } = server.stats()
    const get = `GET ${name} HTTP/1.1\r\nHost: x\r\n\r\n`
    socket.write(get)
    expect(await body(socket)).toBe('undefined')
    await until(() => server.stats().parkedAgain > parkedAgain)
    socket.write(get)
    expect(await body(socket)).toBe(name)
    await until(() => server.stats().awake === 0)
    socket.destroy()
    await until(() => server.stats().parked === 0)
  }
})

test('names that are not valid', () => {
  for (const carry of ['user', [5], [''], {}, null]) {
    const code = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' })
    if (carry === null) park(http.createServer(), { carry } as unknown as ParkOptions)
    else expect(() => park(http.createServer(), { carry } as unknown as ParkOptions)).toThrow(code)
  }
})

describe('a process warning names the properties that get lost, once', () => {
  const source = (set: string, carry = '[]'): string => `
    import http from 'node:http'
    import { connect } from 'node:net'
    import { park } from 'ebb'
    const warnings = []
    process.on('warning', ({ code, message }) => warnings.push([code, message]))
    const server = park(http.createServer({ keepAliveTimeout: 60000 }, (request, response) => {
      const { socket } = request
      socket.setTimeout(5000)
      ${set}
      response.end('x')
    }), { idle: 10, carry: ${carry} })
    server.setTimeout(9000)
    server.on('connection', (socket) => socket.setNoDelay(true))
    server.listen(0, '127.0.0.1', async () => {
      const socket = connect(server.address().port, '127.0.0.1').resume()
      for (let i = 1; i <= 3; i++) {
        socket.write(i === 1 ? 'POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1\\r\\n\\r\\nx' : 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
        while (server.stats().parkedAgain < i) await new Promise((resolve) => setTimeout(resolve, 5))
      }
      console.log(JSON.stringify(warnings))
      process.exit()
    })`

  for (const [name, set, carry, expected] of [
    ['two', `socket.user = 'x'; socket[Symbol('library')] = 1`, '[]', '"user", Symbol(library)'],
    ['one that is not carried', `socket.user = 'x'; socket._id = 1`, `['user']`, '"_id"'],
    ['none that is carried', `socket.user = 'x'`, `['user']`, undefined],
    ['none of Node', `socket.remoteAddress; socket.address(); socket.setKeepAlive(true)`, '[]', undefined]
  ] as const) {
    test(name, async () => {
      const warnings = await new Child(source(set, carry)).next<[string, string][]>()
      if (expected === undefined) expect(warnings).toEqual([])
      else expect(warnings).toEqual([['EBB_STATE_LOST', expect.stringContaining(`(${expected})`)]])
    })
  }
})

/** Reads a response, and returns its body. */
async function body(socket: Socket): Promise<string> {
  let head = ''
  while (!head.endsWith('\r\n\r\n')) head += await readExactly(socket, 1)
  return `${await readExactly(socket, Number(/content-length: (\d+)/i.exec(head)?.[1]))}`
}
