/** The examples on `ws`, each as a process. */
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { Cli, ROOT } from '../support/cli.js'

async function joined(port: number, name: string): Promise<WebSocket> {
  const person = new WebSocket(`ws://127.0.0.1:${port}`)
  onTestFinished(() => person.terminate())
  await once(person, 'open')
  person.send(name)
  return person
}

async function said(person: WebSocket): Promise<string> {
  return String((await once(person, 'message'))[0])
}

test('people talk while their connections are parked; SIGTERM ends the chat', async () => {
  const cli = new Cli([process.execPath, join(ROOT, 'examples/websocket-chat.mjs')], { env: { PORT: '0' } })
  const [, port] = await cli.said(/^Listening on 127\.0\.0\.1:(\d+)\n/m)
  const ann = await joined(Number(port), 'ann')
  const heard = said(ann)
  const bob = await joined(Number(port), 'bob')
  expect(await heard).toBe('* bob joined')
  // Whoever asks stays awake.
  const carl = await joined(Number(port), 'carl')
  expect(await Promise.all([said(ann), said(bob)])).toEqual(['* carl joined', '* carl joined'])
  for (let who = ''; !who.includes('2 of them parked'); ) {
    carl.send('/who')
    who = await said(carl)
    expect(who).toMatch(/^\* 3 are here, [0-3] of them parked$/)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  carl.close()
  expect(await Promise.all([said(ann), said(bob)])).toEqual(['* carl left', '* carl left'])
  const hello = said(bob)
  ann.send('hello')
  expect(await hello).toBe('ann: hello')
  const left = said(ann)
  bob.close()
  expect(await left).toBe('* bob left')
  const closed = once(ann, 'close')
  cli.kill('SIGTERM')
  expect((await closed)[0]).toBe(1001)
  expect(await cli.ended).toMatchObject({ code: 0, stderr: '' })
})

test.each([
  ['alone', [], /^$/],
  [
    'with ebb/park',
    ['--import', 'ebb/park'],
    /^ebb: parking HTTP connections and WebSockets of 127\.0\.0\.1:\d+, .*\n$/
  ]
])('examples/unchanged-chat.mjs, %s', async (_, flags, said) => {
  const example = join(ROOT, 'examples/unchanged-chat.mjs')
  const cli = new Cli([process.execPath, ...flags, example], { env: { PORT: '0', EBB_PARK_IDLE: '1ms' } })
  const [, port] = await cli.said(/^Listening on 127\.0\.0\.1:(\d+)\n/m)
  const people = await Promise.all(['ann', 'bob'].map((name) => joined(Number(port), name)))
  // Everybody hears the names of those who have joined before.
  const heard = Promise.all(
    people.map(async (person) => {
      for (let text = ''; text !== 'hello'; ) [text] = (await once(person, 'message')).map(String) as [string]
    })
  )
  const page = async (): Promise<string> => await (await fetch(`http://127.0.0.1:${port}/`)).text()
  expect(await page()).toBe('2 are here\n')
  people[0]?.send('hello')
  await heard
  expect(await page()).toBe('2 are here\n')
  const closed = Promise.all(people.map(async (person) => (await once(person, 'close'))[0]))
  cli.kill('SIGTERM')
  expect(await closed).toEqual([1001, 1001])
  expect(await cli.ended).toMatchObject({ code: 0, stderr: expect.stringMatching(said) })
})
