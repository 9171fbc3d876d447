/** Connections that are not at rest when the servers are handed over, and what is sent to them meanwhile. */
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { type Answer, echoClient, eventually, handoverPath, Member, ONLY_BYTES_WAKE } from '../support/handover.js'
import { CLOCK } from '../support/patience.js'
import { until } from '../support/sockets.js'

/** An echo server that keeps its connections awake from `hold` to a call of `free()`. */
const HOLDING = `
  const held = new Map()
  const sockets_ = []
  const free = () => { for (const connection of held.values()) connection.keepAwake = false }
  const servers = createServer({ ${ONLY_BYTES_WAKE} }, (socket, connection) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => {
      const text = bytes.toString()
      if (text === 'hold') {
        connection.keepAwake = true
        held.set(connection.id, connection)
        sockets_.push(socket)
      }
      socket.write(JSON.stringify({ pid: process.pid, id: connection.id, wakes: connection.wakes, text }) + '\\n')
    })
  })
  const listen = { port: 0, host: '127.0.0.1' }
`

test('a connection follows when it comes to rest, and bytes sent by the new process arrive in order', async () => {
  const path = handoverPath()
  // It is never silent, so it moves in the last fifth of the grace.
  const options = { servers: `${CLOCK}${HOLDING}`, options: { grace: '1h' } }
  const first = new Member(path, options)
  const ready = await first.expect('ready')
  const client = await echoClient(ready)
  const { id } = await client.ask('hold')
  const lines: string[] = []
  let rest = ''
  client.socket.on('data', (bytes: Buffer) => {
    const [...parts] = (rest + bytes.toString()).split('\n')
    rest = parts.pop() as string
    lines.push(...parts)
  })

  const second = new Member(path, options)
  expect((await second.expect('ready')).from).toMatchObject({ connections: 0, awake: 1 })
  await first.expect('handedOver')
  expect(await second.value(`first.connection ? first.send(${id}, 'forwarded\\n') : 0`)).toBe(true)
  await until(() => lines.includes('forwarded'))
  expect(await second.value(`first.broadcast('to all\\n')`)).toBe(1)
  await until(() => lines.includes('to all'))

  // Numbers go on while the connection moves.
  const burst = `for (let i = 0; i < 50; i++) first.send(${id}, next++ + '\\n')`
  await second.value(`(globalThis.next = 0, globalThis.sending = setInterval(() => { ${burst} }, 1), 0)`)
  await until(() => lines.length > 1000)
  expect(await second.value('first.stats().parked + first.stats().awake')).toBe(0)
  await first.value('(free(), (ahead = 0.9 * 3_600_000))')
  await eventually(() => second.value('first.stats().parked')).toBe(1)
  await first.expect('closed')
  expect((await first.ended).code).toBe(0)
  const count = lines.length
  await until(() => lines.length > count + 1000)
  const total = await second.value<number>('(clearInterval(sending), next)')
  await until(() => lines.length >= total + 2)
  expect(lines.slice(2)).toEqual(Array.from({ length: total }, (_, i) => String(i)))
  expect(await client.ask('after')).toMatchObject({ pid: second.process.pid, id, wakes: 2 })
  expect(await second.value('audit()')).toEqual([])
})

test('what the old process writes to a connection that has moved arrives by way of the new one', async () => {
  const path = handoverPath()
  const options = { servers: HOLDING, options: { grace: '20s' } }
  const first = new Member(path, options)
  const ready = await first.expect('ready')
  const [moves, stays] = [await echoClient(ready), await echoClient(ready)]
  const { id } = await moves.ask('hold')
  await stays.ask('hold')
  const second = new Member(path, options)
  await second.expect('ready')
  await first.expect('handedOver')
  await first.value(`held.get(${id}).keepAwake = false`)
  await eventually(() => second.value('first.stats().parked')).toBe(1)

  let text = ''
  moves.socket.on('data', (bytes: Buffer) => {
    text += bytes.toString()
  })
  await first.value(`(sockets_[0].write('too late'), first.send(${id}, ', and sent'))`)
  await until(() => text === 'too late, and sent')
  await first.value(`first.closeConnection(${id})`)
  await until(() => moves.socket.closed)
  await first.value('free()')
  await eventually(() => second.value('first.stats().parked')).toBe(1)
  expect((await stays.ask('again')).pid).toBe(second.process.pid)
})

test('what is not at rest when the grace is over is closed', async () => {
  const path = handoverPath()
  const options = { servers: HOLDING, options: { grace: '100ms' } }
  const first = new Member(path, options)
  const client = await echoClient(await first.expect('ready'))
  const { id } = await client.ask('hold')
  const second = new Member(path, options)
  await second.expect('ready')
  await until(() => client.socket.closed)
  expect((await first.ended).code).toBe(0)
  expect(await second.value(`first.send(${id}, 'x')`)).toBe(false)
  expect(await second.value('audit()')).toEqual([])
})

test('a connection that is never silent for long follows in the last part of the grace', async () => {
  const path = handoverPath()
  const options = { servers: HOLDING.replace("'20ms'", "'10s'"), options: { grace: '1s' } }
  const first = new Member(path, options)
  const client = await echoClient(await first.expect('ready'))
  const { id } = await client.ask('begin')
  const second = new Member(path, options)
  await second.expect('ready')
  const pids = new Set<number>()
  let last: Answer | undefined
  while (!pids.has(second.process.pid as number)) {
    last = await client.ask('more')
    pids.add(last.pid)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  expect(last).toMatchObject({ id, wakes: 2 })
  expect((await first.ended).code).toBe(0)
})

test('a third process takes over while the first one still has connections', async () => {
  const path = handoverPath()
  const options = { servers: HOLDING, options: { grace: '20s' } }
  const first = new Member(path, options)
  const client = await echoClient(await first.expect('ready'))
  const { id } = await client.ask('hold')
  const second = new Member(path, options)
  await second.expect('ready')
  const third = new Member(path, options)
  expect((await third.expect('ready')).from).toMatchObject({ pid: second.process.pid, awake: 1 })

  const data = once(client.socket, 'data')
  expect(await third.value(`first.send(${id}, 'through two\\n')`)).toBe(true)
  expect(String((await data)[0])).toBe('through two\n')
  await first.expect('handedOver')
  await first.value('free()')
  await eventually(() => third.value('first.stats().parked')).toBe(1)
  expect(await client.ask('x')).toMatchObject({ pid: third.process.pid, id })
  for (const member of [first, second]) expect((await member.ended).code).toBe(0)
  expect(await third.value('audit()')).toEqual([])
})
