/** `examples/hub.mjs`, as a process. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { Cli, ROOT } from '../support/cli.js'

async function subscribed(port: number, topics: string): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${port}/?topics=${topics}`)
  onTestFinished(() => client.terminate())
  await once(client, 'open')
  return client
}

const said = async (client: WebSocket): Promise<string> => String((await once(client, 'message'))[0])

test('topics reach who has subscribed; SIGTERM ends the hub', async () => {
  const cli = new Cli([process.execPath, join(ROOT, 'examples/hub.mjs')], { env: { PORT: '0' } })
  const [, text] = await cli.said(/^Listening on 127\.0\.0\.1:(\d+)\n/m)
  const port = Number(text)
  const [ann, bob] = [await subscribed(port, 'news,sports'), await subscribed(port, 'sports')]
  const both = Promise.all([said(ann), said(bob)])
  bob.send(JSON.stringify({ publish: 'sports', data: 1 }))
  expect(await both).toEqual(Array(2).fill('{"topic":"sports","data":1}'))
  bob.send(JSON.stringify({ subscribe: ['news'] }))
  bob.send(JSON.stringify({ count: 'news' }))
  expect(await said(bob)).toBe('{"topic":"news","count":2}')
  bob.send('ping')
  expect(await said(bob)).toBe('pong')
  // No request ends the process.
  for (const path of [`/?topics=${'x'.repeat(257)}`, '/?topics=1,2,3,4,5,6,7,8,9,10,11']) {
    const refused = new WebSocket(`ws://127.0.0.1:${port}${path}`)
    expect(String(((await once(refused, 'error')) as Error[])[0])).toContain('400')
  }
  const odd = new WebSocket(`ws://127.0.0.1:${port}//`)
  await once(odd, 'open')
  odd.terminate()
  const closed = once(bob, 'close')
  bob.send('no JSON')
  expect((await closed)[0]).toBe(1008)
  const end = once(ann, 'close')
  cli.kill('SIGTERM')
  expect(await end).toEqual([1001, Buffer.from('the hub is over')])
  expect(await cli.ended).toMatchObject({ code: 0, stderr: '' })
})

test.each([
  ['a path that begins as a host', '//', 101],
  ['a topic that is too long', `/?topics=${'x'.repeat(257)}`, 400],
  ['no topics', '/?a=1', 101]
])('%s does not end the hub', async (_, url, status) => {
  const cli = new Cli([process.execPath, join(ROOT, 'examples/hub.mjs')], { env: { PORT: '0' } })
  const [, text] = await cli.said(/^Listening on 127\.0\.0\.1:(\d+)\n/m)
  const port = Number(text)
  const client = connect(port, '127.0.0.1')
  onTestFinished(() => void client.destroy())
  const key = 'Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nSec-WebSocket-Version: 13'
  client.write(`GET ${url} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${key}\r\n\r\n`)
  expect(String((await once(client, 'data'))[0])).toMatch(`HTTP/1.1 ${status} `)
  client.destroy()
  const other = await subscribed(port, 'news')
  other.close()
  await once(other, 'close')
  cli.kill('SIGTERM')
  expect(await cli.ended).toMatchObject({ code: 0, stderr: '' })
})
