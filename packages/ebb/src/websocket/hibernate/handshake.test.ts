import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import net, { type AddressInfo } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { acceptResponse, answerOf, checkRequest, readHead, refuseResponse } from './handshake.js'

const LINES = ['Host: x', 'Upgrade: websocket', 'Connection: keep-alive, Upgrade', 'Sec-WebSocket-Version: 13']
const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
const request = (lines: string[], first = 'GET /chat?a=b HTTP/1.1'): Buffer =>
  Buffer.from(`${[first, ...lines].join('\r\n')}\r\n\r\n`, 'latin1')

test('the head of a usual request', () => {
  const bytes = Buffer.concat([request([...LINES, `${KEY} \t`, 'Cookie: \xe9=1;b=2']), Buffer.from('more')])
  expect(readHead(bytes, 16_384)).toEqual({
    url: '/chat?a=b',
    headers: {
      host: 'x',
      upgrade: 'websocket',
      connection: 'keep-alive, Upgrade',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      cookie: '\xe9=1;b=2'
    },
    length: bytes.length - 4
  })
  // A head that is cut anywhere is incomplete.
  for (let end = 0; end < bytes.length - 4; end++) expect(readHead(bytes.subarray(0, end), 16_384)).toBeUndefined()
  expect(readHead(bytes, bytes.length - 5)).toBeUndefined()
})

test.each([
  ['another method', request(LINES, 'POST / HTTP/1.1')],
  ['HTTP/1.0', request(LINES, 'GET / HTTP/1.0')],
  ['a URL that is no path', request(LINES, 'GET [ HTTP/1.1')],
  ['an absolute URL', request(LINES, 'GET http://x/ HTTP/1.1')],
  ['a blank in the URL', request(LINES, 'GET /a b HTTP/1.1')],
  ['no upgrade', request(LINES.filter((line) => !line.startsWith('Connection')))],
  ['no host', request(LINES.slice(1))],
  ['a header twice', request([...LINES, 'Cookie: a', 'Cookie: b'])],
  ['a folded header', request([...LINES, 'Cookie: a', ' b'])],
  ['a blank before the colon', request([...LINES, 'Cookie : a'])],
  ['no colon', request([...LINES, 'Cookie'])],
  ['a control character', request([...LINES, 'Cookie: a\x01'])],
  ['a lone line feed', request([...LINES, 'Cookie: a\nb: c'])],
  ['a body', request([...LINES, 'Content-Length: 4'])],
  ['chunks', request([...LINES, 'Transfer-Encoding: chunked'])],
  ['an expectation', request([...LINES, 'Expect: 100-continue'])],
  ['a name of Object', request([...LINES, 'constructor: a', '__proto__: b'])]
])('%s is left to http', (_, bytes) => {
  expect(readHead(bytes, 16_384)).toBeUndefined()
})

describe('beside the parser of http', () => {
  const seen: IncomingMessage[] = []
  const server = http.createServer()
  server.on('upgrade', (incoming, socket) => {
    seen.push(incoming)
    socket.destroy()
  })
  server.on('clientError', (_, socket) => socket.destroy())
  server.on('request', (_, response) => response.destroy())
  beforeAll(async () => void (await once(server.listen(0, '127.0.0.1'), 'listening')))
  afterAll(() => void server.close())

  async function parsed(bytes: Buffer): Promise<IncomingMessage | undefined> {
    seen.length = 0
    const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
    socket.on('error', () => {})
    socket.end(bytes)
    socket.resume()
    await once(socket, 'close')
    return seen[0]
  }

  test('whatever is read here, http reads in the same way', async () => {
    const odd = fc.constantFrom(
      '\t',
      ' ',
      '\x0b',
      '\xa0',
      '\xff',
      '\x7f',
      ',',
      ';',
      '"',
      '(',
      '\\',
      'é',
      ':',
      '\r',
      '\n'
    )
    const value = fc.string({
      unit: fc.oneof({ weight: 5, arbitrary: fc.constantFrom('a', 'B', '1') }, odd),
      maxLength: 8
    })
    const name = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('Cookie', 'Origin', 'X-A', 'x-a', 'Sec-WebSocket-Protocol', 'Expect') },
      { weight: 1, arbitrary: value }
    )
    const more = fc.array(fc.tuple(name, fc.constantFrom(':', ': ', ':  \t'), value), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(more, fc.constantFrom('/', '/a?b', '*', 'http://x/', '/é', '/\x7f'), async (headers, url) => {
        const bytes = request([...LINES, KEY, ...headers.map((parts) => parts.join(''))], `GET ${url} HTTP/1.1`)
        const head = readHead(bytes, 16_384)
        if (head === undefined) return
        const incoming = await parsed(bytes.subarray(0, head.length))
        expect(head).toMatchObject({ url: incoming?.url, headers: { ...incoming?.headers } })
        expect(Object.keys(head.headers)).toEqual(Object.keys({ ...incoming?.headers }))
      }),
      { numRuns: 150 }
    )
  })
})

const HEADERS = {
  upgrade: 'WebSocket',
  connection: 'Upgrade',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-version': '13'
}

test('requests that are refused', () => {
  expect(checkRequest('GET', HEADERS)).toEqual([])
  expect(checkRequest('GET', { ...HEADERS, 'sec-websocket-protocol': 'a, b' })).toEqual(['a', 'b'])
  expect(checkRequest('POST', HEADERS)).toMatchObject({ status: 405 })
  expect(checkRequest('GET', { ...HEADERS, upgrade: 'h2c' })).toMatchObject({ status: 400 })
  for (const key of [undefined, '', 'short==', `${HEADERS['sec-websocket-key']}=`]) {
    expect(checkRequest('GET', { ...HEADERS, 'sec-websocket-key': key })).toMatchObject({ status: 400 })
  }
  for (const version of [undefined, '8', '14']) {
    const refusal = checkRequest('GET', { ...HEADERS, 'sec-websocket-version': version })
    expect(refusal).toEqual({ status: 426, headers: { 'Sec-WebSocket-Version': '13' } })
  }
  for (const offered of ['', 'a,,b', 'a, a', 'a b', 'a;b']) {
    expect(checkRequest('GET', { ...HEADERS, 'sec-websocket-protocol': offered })).toMatchObject({ status: 400 })
  }
})

test('answers of upgrade()', () => {
  const none = { lines: '', protocol: undefined, tags: [], attachment: undefined }
  expect(answerOf(undefined, [])).toEqual(none)
  expect(answerOf(true, [])).toEqual(none)
  expect(answerOf({}, [])).toEqual(none)
  expect(answerOf(false, [])).toEqual({ status: 403 })
  expect(answerOf({ status: 302, headers: { Location: '/' } }, [])).toMatchObject({ status: 302 })
  const headers = { 'Set-Cookie': ['a', 'b'] }
  expect(answerOf({ protocol: 'b', tags: ['t', 't'], attachment: 1, headers }, ['a', 'b'])).toEqual({
    lines: 'Set-Cookie: a\r\nSet-Cookie: b\r\n',
    protocol: 'b',
    tags: ['t'],
    attachment: 1
  })
  for (const wrong of [
    { status: 200 },
    { status: 600 },
    { protocol: 'c' },
    { tags: 'a' },
    'yes',
    { body: 1, status: 400 }
  ]) {
    expect(() => answerOf(wrong as never, ['a'])).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  }
  expect(() => answerOf({ headers: { a: 'b\r\nc: d' } }, [])).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_CHAR' })
  )
  for (const name of ['Sec-WebSocket-Accept', 'connection', 'Upgrade', 'Content-Length', 'Transfer-Encoding']) {
    expect(() => answerOf({ headers: { [name]: 'x' } }, [])).toThrow(/must not have/)
  }
  for (const name of ['connection', 'Content-Length']) {
    expect(() => answerOf({ status: 400, headers: { [name]: 'x' } }, [])).toThrow(/must not have/)
  }
  expect(() => answerOf({ headers: { a: 5 } as never }, [])).toThrow('header a must be a string, not 5')
  expect(() => answerOf({ headers: { 'a b': 'c' } }, [])).toThrow()
})

test('responses', () => {
  const acceptance = { lines: 'X: y\r\n', protocol: 'chat', tags: [], attachment: undefined }
  // The example of RFC 6455, section 1.3.
  expect(acceptResponse('dGhlIHNhbXBsZSBub25jZQ==', acceptance).toString('latin1').split('\r\n')).toEqual([
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
    'Sec-WebSocket-Protocol: chat',
    'X: y',
    '',
    ''
  ])
  const refused = refuseResponse({ status: 401, body: 'né', headers: { 'WWW-Authenticate': 'Basic' } }).toString()
  expect(refused).toMatch(/^HTTP\/1.1 401 Unauthorized\r\nConnection: close\r\n.*Content-Length: 3\r\n/s)
  expect(refuseResponse({ status: 400, body: '{}', headers: { 'content-type': 'application/json' } }).toString()).toBe(
    'HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\ncontent-type: application/json\r\n\r\n{}'
  )
  expect(refused).toMatch(/\r\nWWW-Authenticate: Basic\r\n\r\nné$/)
})
