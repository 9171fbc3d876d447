import { expect, test } from 'vitest'
import { echoClients, eventually, handoverPath, Member } from '../support/handover.js'

const parked = (member: Member): Promise<number> => member.value('first.stats().parked')

test('parked connections go on in the next process, with id, wakes and attachment', async () => {
  const path = handoverPath()
  const first = new Member(path)
  const ready = await first.expect('ready')
  expect(ready.from).toBeUndefined()
  const fresh = await echoClients(ready, 20)
  const used = await echoClients(ready, 300)
  const before = await Promise.all(used.map((one, i) => one.ask(i % 2 ? `keep:${i}` : `big:${i * 700}`)))
  await eventually(() => parked(first)).toBe(320)

  const second = new Member(path)
  const { from, address } = await second.expect('ready')
  expect(address).toEqual(ready.address)
  expect(from).toMatchObject({ pid: first.process.pid, connections: 320, awake: 0 })
  expect((await first.expect('handedOver')).report).toMatchObject({ pid: second.process.pid, connections: 320 })
  await first.expect('closed')
  const { code } = await first.ended
  expect(code).toBe(0)

  expect(await parked(second)).toBe(320)
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
  for (const one of fresh) {
    const { id, wakes } = await one.ask('first')
    expect(wakes).toBe(1)
    ids.add(id)
  }
  const later = await echoClients(ready, 50)
  for (const one of later) ids.add((await one.ask('new')).id)
  expect(ids.size).toBe(370)
  expect(await second.value('audit()')).toEqual([])
})
