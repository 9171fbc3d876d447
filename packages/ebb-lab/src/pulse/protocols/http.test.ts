import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { descriptors, until } from '../../../../../test/support/sockets.js'
import { clientFor, portOf, rawServer, saying } from '../testing/speaking.js'

interface Asked {
  method: string | undefined
  url: string | undefined
  headers: IncomingMessage['headers']
  body: string
}

/** Starts a server that keeps what it is asked. */
async function server(
  answer: (response: ServerResponse, asked: Asked) => void
): Promise<{ port: number; asked: Asked[] }> {
  const asked: Asked[] = []
  const http = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text
    })
    request.on('end', () => {
      const { method, url, headers } = request
      asked.push({ method, url, headers, body })
      answer(response, asked.at(-1) as Asked)
    })
  })
  return { port: await portOf(http), asked }
}

test('sends a request on each connection, and counts the answers', async () => {
  const { port, asked } = await server((response) => response.end('hello'))
  const client = clientFor(`http://127.0.0.1:${port}/a/{id}?b=1#c`, { headers: [['X-Id', 'n{id}']] })
  const before = descriptors()
  expect(await client.connect(20)).toMatchObject({ connected: 20, failed: {}, unanswered: {} })
  expect(client.takeTraffic()).toMatchObject({ sent: 20, answered: 20, statuses: { 200: 20 } })
  expect(asked.map(({ url }) => url).sort()).toEqual(Array.from({ length: 20 }, (_, id) => `/a/${id}?b=1`).sort())
  expect(asked[0]).toMatchObject({ method: 'GET', headers: { host: `127.0.0.1:${port}` }, body: '' })
  expect(asked.every(({ headers, url }) => `/a/${String(headers['x-id']).slice(1)}?b=1` === url)).toBe(true)
  await client.close()
  expect(await client.takeLost()).toEqual({})
  await until(() => descriptors() === before)
})

test('asks again and again on the same connection', async () => {
  const { port, asked } = await server((response) => response.end())
  const client = clientFor(`http://127.0.0.1:${port}/{n}`, { every: 5, body: '{id} {n} ä', method: 'PUT' })
  await client.connect(3)
  await until(() => asked.length >= 30)
  await client.close()
  expect(asked.slice(0, 30)).toEqual(
    asked.slice(0, 30).map(({ body, url }) => {
      expect(body).toMatch(/^[012] \d+ ä$/)
      expect(url).toBe(`/${body.split(' ')[1]}`)
      return expect.objectContaining({ method: 'PUT' })
    })
  )
  const { sent, answered, statuses } = client.takeTraffic()
  expect(sent - answered).toBeLessThanOrEqual(3)
  expect(statuses).toEqual({ 200: answered })
  expect(client.latencies.answers.corrected.count).toBe(answered)
})

test('sends the next request after each answer if every is 0', async () => {
  const { port, asked } = await server((response) => response.end())
  const client = clientFor(`http://127.0.0.1:${port}/`, { every: 0 })
  await client.connect(2)
  await until(() => asked.length >= 100)
})

const BODIES: [string, Record<string, string | string[]>, string[]][] = [
  ['a length', { 'Content-Length': '11' }, ['hello', ' ', 'world']],
  ['chunks', {}, ['a', 'b'.repeat(70_000), 'c']],
  ['no body', { 'Content-Length': '0' }, []]
]

test.each(BODIES)('reads an answer with %s whole', async (_, headers, parts) => {
  const { port } = await server(async (response) => {
    response.writeHead(200, headers)
    for (const part of parts) await new Promise((resolve) => response.write(part, () => setImmediate(resolve)))
    response.end()
  })
  const client = clientFor(`http://127.0.0.1:${port}/`, { every: 0 })
  await client.connect(5)
  let answered = 0
  await until(() => {
    answered += client.takeTraffic().answered
    return answered > 50
  })
  expect(client.open).toBe(5)
})

test.each([
  ['HEAD', 200, { 'Content-Length': '100' }],
  ['GET', 204, {}],
  ['GET', 304, { 'Content-Length': '100' }]
] as const)('expects no body after %s and %d', async (method, status, headers) => {
  const { port } = await server((response) => void response.writeHead(status, headers).end())
  const client = clientFor(`http://127.0.0.1:${port}/`, { every: 0, method })
  await client.connect(1)
  let answered = 0
  await until(() => {
    answered += client.takeTraffic().answered
    return answered > 5
  })
})

test('passes over interim answers', async () => {
  const port = await saying(['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early', ' Hints\r\nLink: x\r\n\r\n', OK])
  const client = clientFor(`http://127.0.0.1:${port}/`)
  expect(await client.connect(1)).toMatchObject({ connected: 1, unanswered: {} })
  expect(client.takeTraffic()).toMatchObject({ statuses: { 200: 1 } })
})

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'

test('counts answers that say that the request is wrong', async () => {
  const { port } = await server((response, { url }) => {
    response.statusCode = url === '/0' ? 404 : 503
    response.end()
  })
  const client = clientFor(`http://127.0.0.1:${port}/{id}`)
  expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: { HTTP_404: 1, HTTP_503: 2 } })
  expect(client.takeTraffic()).toMatchObject({ answered: 0, statuses: { 404: 1, 503: 2 } })
  expect(client.open).toBe(3)
})

test.each([
  ['garbage', ['hello\r\n'], 'hold', 'GARBAGE'],
  ['a status that is none', ['HTTP/1.1 20x OK\r\n\r\n'], 'hold', 'GARBAGE'],
  ['two lengths', ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'], 'hold', 'GARBAGE'],
  ['a length that is none', ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'], 'hold', 'GARBAGE'],
  ['a header without a colon', ['HTTP/1.1 200 OK\r\nnothing\r\n\r\n'], 'hold', 'GARBAGE'],
  ['a chunk without a size', ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n'], 'hold', 'GARBAGE'],
  ['an endless head', ['HTTP/1.1 200 OK\r\nA: ', 'x'.repeat(70_000)], 'hold', 'GARBAGE'],
  ['more than an answer', [`${OK}x`], 'hold', 'GARBAGE'],
  ['half a head', ['HTTP/1.1 200 OK\r\nCont'], 'end', 'TRUNCATED'],
  ['half a body', ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'], 'end', 'TRUNCATED'],
  ['half a chunk', ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab'], 'end', 'TRUNCATED'],
  ['nothing', [], 'end', 'FIN']
] as const)('loses connections that are answered with %s', async (_, parts, then, cause) => {
  const port = await saying(parts, then)
  const client = clientFor(`http://127.0.0.1:${port}/`)
  expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: { [cause]: 3 } })
  expect(await client.takeLost()).toEqual({ [cause]: 3 })
  expect(client.open).toBe(0)
})

test('an answer that ends with the connection is complete', async () => {
  const port = await saying(['HTTP/1.0 200 OK\r\n\r\nhel', 'lo'], 'end')
  const client = clientFor(`http://127.0.0.1:${port}/`)
  expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: {} })
  expect(client.takeTraffic()).toMatchObject({ answered: 3 })
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ FIN: 3 })
})

test('an answer that does not come in time costs the connection, because it could still come', async () => {
  const port = await rawServer((socket) => void socket.resume())
  const client = clientFor(`http://127.0.0.1:${port}/`, { timeout: 150 })
  expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: { TIMEOUT: 3 } })
  expect(client.open).toBe(0)
  // Counted once: it is not lost as well.
  expect(await client.takeLost()).toEqual({})
})

test('says why the server closes an idle connection', async () => {
  const port = await rawServer((socket) => {
    socket.once('data', () => {
      socket.write(OK)
      setTimeout(() => socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n'), 50)
    })
  })
  const client = clientFor(`http://127.0.0.1:${port}/`)
  await client.connect(2)
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ HTTP_408: 2 })
})

test('counts requests whose answers are late, and sends what was due afterwards', async () => {
  const { port } = await server(async (response) => {
    await wait(100)
    response.end()
  })
  const client = clientFor(`http://127.0.0.1:${port}/`, { every: 20 })
  await client.connect(1)
  let late = 0
  await until(() => {
    late += client.takeTraffic().late
    return late >= 3
  })
  const { corrected, uncorrected } = client.latencies.answers
  await until(() => corrected.count >= 3)
  expect(corrected.quantiles().max).toBeGreaterThan(uncorrected.quantiles().p50)
})
