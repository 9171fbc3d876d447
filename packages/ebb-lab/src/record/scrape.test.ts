import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { expvarUrl, readExpvar, type Scraper, scrape } from './scrape.js'

const servers: http.Server[] = []
const scrapers: Scraper[] = []
afterEach(() => {
  for (const scraper of scrapers.splice(0)) scraper.stop()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function serve(handler: http.RequestListener): Promise<{ server: http.Server; url: string }> {
  const server = http.createServer(handler).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/debug/vars` }
}

const memstats = { HeapSys: 8_000_000, HeapInuse: 5_000_000, HeapReleased: 1_000_000, HeapObjects: 1234, BySize: [{}] }
const answer = JSON.stringify({ cmdline: ['server'], memstats })

test("reads Go's memstats", async () => {
  const { url } = await serve((_, response) => response.end(answer))
  expect(await readExpvar(url)).toEqual({ system: 8_000_000, inuse: 5_000_000, released: 1_000_000, objects: 1234 })
})

test.each(['ftp://x/', 'file:///etc/passwd', 'debug/vars', ''])('refuses %j as an address to poll', (url) => {
  expect(() => expvarUrl(url)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_URL' }))
})

test.each<[string, http.RequestListener, RegExp]>([
  ['status 404', (_, response) => response.writeHead(404).end('no'), /status 404/],
  ['a redirect', (_, response) => response.writeHead(302, { location: '/' }).end(), /status 302/],
  ['text', (_, response) => response.end('hello'), /not with Go's memstats/],
  ['other JSON', (_, response) => response.end('{"memstats":{"HeapSys":"x"}}'), /not with Go's memstats/],
  ['null', (_, response) => response.end('null'), /not with Go's memstats/],
  ['5 MB', (_, response) => response.end(Buffer.alloc(5_000_000, 0x20)), /larger than 4194304 bytes/],
  ['no answer', () => {}, /no answer within 0.2 s/],
  ['half an answer that stays open', (_, response) => void response.write('{'), /no answer within 0.2 s/],
  [
    'half an answer that is cut off',
    (_, response) => void response.writeHead(200).write('{', () => response.destroy()),
    /cannot be polled/
  ],
  ['a closed connection', (request) => void request.socket.destroy(), /cannot be polled/]
])('rejects %s with one sentence', async (_, handler, message) => {
  const { url } = await serve(handler)
  await expect(readExpvar(url, { timeout: 200 })).rejects.toThrow(message)
  await expect(readExpvar(url, { timeout: 200 })).rejects.toThrow(url)
})

test('sends the password of the address, and never shows it', async () => {
  const seen: (string | undefined)[] = []
  const { url } = await serve((request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(500).end()
  })
  const secret = url.replace('http://', 'http://user:geheim@')
  await expect(readExpvar(secret)).rejects.toThrow(
    expect.objectContaining({ message: expect.not.stringContaining('geheim') })
  )
  expect(seen).toEqual([`Basic ${Buffer.from('user:geheim').toString('base64')}`])
})

test('polls repeatedly, and notes a failure and its end once each', async () => {
  let broken = false
  let requests = 0
  const { server, url } = await serve((_, response) => {
    requests++
    response.writeHead(broken ? 500 : 200).end(answer)
  })
  const connections = vi.fn()
  server.on('connection', connections)
  const onView = vi.fn()
  const onNote = vi.fn()
  const scraper = scrape(url, { onView, onNote, every: 10 })
  scrapers.push(scraper)
  await vi.waitFor(() => expect(onView.mock.calls.length).toBeGreaterThan(3))
  expect(connections).toHaveBeenCalledTimes(1)
  broken = true
  await vi.waitFor(() => expect(onNote).toHaveBeenCalled())
  const failed = requests
  await vi.waitFor(() => expect(requests).toBeGreaterThan(failed + 3))
  broken = false
  await vi.waitFor(() => expect(onNote.mock.calls.length).toBeGreaterThan(1))
  expect(onNote.mock.calls.map(([note]) => note)).toEqual([
    { event: 'note', code: 'expvar-failed', text: `${url} cannot be polled: it answers with status 500` },
    { event: 'note', code: 'expvar-recovered', text: `${url} answers again` }
  ])
  scraper.stop()
  const stopped = requests
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(requests).toBeLessThanOrEqual(stopped + 1)
})

test('polls a server that closes the connection after each answer', async () => {
  const { url } = await serve((_, response) => response.setHeader('connection', 'close').end(answer))
  const onView = vi.fn()
  const onNote = vi.fn()
  scrapers.push(scrape(url, { onView, onNote, every: 5 }))
  await vi.waitFor(() => expect(onView.mock.calls.length).toBeGreaterThan(10))
  expect(onNote).not.toHaveBeenCalled()
})
