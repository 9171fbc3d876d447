/** Listeners of `createListener()`: what moves, what waits, and what is passed on. */
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { echoClient, echoClients, eventually, handoverPath, LISTENER, Member } from '../support/handover.js'

test('connections go on in the next process, with id and attachment, and new ones get other ids', async () => {
  const path = handoverPath()
  const first = new Member(path, { servers: LISTENER })
  const ready = await first.expect('ready')
  expect(ready.from).toBeUndefined()
  const fresh = await echoClients(ready, 20)
  const used = await echoClients(ready, 300)
  const before = await Promise.all(used.map((one, i) => one.ask(i % 2 ? `keep:${i}` : `big:${i * 700}`)))
  await eventually(() => first.value('first.clients')).toBe(320)

  const second = new Member(path, { servers: LISTENER })
  const { from, address } = await second.expect('ready')
  expect(address).toEqual(ready.address)
  expect(from).toMatchObject({ pid: first.process.pid, connections: 320, awake: 0 })
  expect((await first.expect('handedOver')).report).toMatchObject({ pid: second.process.pid, connections: 320 })
  expect((await first.ended).code).toBe(0)

  expect(await second.value('[first.clients, first.accepted, moved.size, opened.size]')).toEqual([320, 320, 320, 0])
  const after = await Promise.all(used.map((one) => one.ask('again')))
  for (const [i, { pid, id, wakes, kept }] of after.entries()) {
    expect({ pid, id, wakes, kept }).toEqual({
      pid: second.process.pid,
      id: before[i]?.id,
      wakes: 2,
      kept: i % 2 ? String(i) : i * 700
    })
  }
  const ids = new Set(after.map(({ id }) => id))
  for (const one of fresh) ids.add((await one.ask('first')).id)
  const later = await echoClients(ready, 50)
  for (const one of later) ids.add((await one.ask('new')).id)
  expect(ids.size).toBe(370)
  expect(await second.value('opened.size')).toBe(50)
  expect(await second.value('audit()')).toEqual([])

  for (const { socket } of [...fresh, ...used, ...later]) socket.destroy()
  await eventually(() => second.value('[first.clients, all.size]')).toEqual([0, 0])
  expect(await second.value('audit()')).toEqual([])
})

test('an answer that the old process has not written yet is passed on', async () => {
  const path = handoverPath()
  const servers = LISTENER.replace(
    'const text = bytes.toString()',
    `const text = bytes.toString()
      if (text === 'slow') { globalThis.slow = connection; return }`
  )
  const first = new Member(path, { servers })
  const client = await echoClient(await first.expect('ready'))
  const { id } = await client.ask('hello')
  client.socket.write('slow')
  await eventually(() => first.value("typeof slow === 'object'")).toBe(true)
  // It keeps the process running, as a query of a database would.
  await first.value('(globalThis.query = setInterval(() => {}, 1000), 0)')
  const second = new Member(path, { servers })
  await second.expect('ready')
  await first.expect('handedOver')

  const answer = once(client.socket, 'data')
  expect(await first.value("[slow.closed, slow.write('late\\n'), slow.closed]")).toEqual([false, true, false])
  expect(String((await answer)[0])).toBe('late\n')
  expect(await client.ask('again')).toMatchObject({ pid: second.process.pid, id })
  const closed = once(client.socket, 'close')
  await first.value('(slow.close(), clearInterval(query), 0)')
  await closed
  expect((await first.ended).code).toBe(0)
  await eventually(() => second.value('[first.clients, all.size]')).toEqual([0, 0])
  expect(await second.value('audit()')).toEqual([])
})
