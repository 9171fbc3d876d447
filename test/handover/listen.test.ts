/** Listeners of `createListener()`: what moves, what waits, and what is passed on. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createListener, listen } from 'ebb'
import { handover } from 'ebb/handover'
import { describe, expect, onTestFinished, test } from 'vitest'
import { echoClient, echoClients, eventually, handoverPath, LISTENER, Member } from '../support/handover.js'
import { until } from '../support/sockets.js'

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

/** A listener that answers each message with what `answer` is, and tells what it was called for. */
function serving(handlers: string, options = '', listen = '{ port: 0 }'): string {
  return `
    const calls = []
    const held = new Map()
    const servers = createListener({
      handedOver: (report) => print({ event: 'handedOver', report }),
      handoverFailed: ({ message }) => print({ event: 'handoverFailed', message }),
      moved: (connection) => calls.push('moved'),
      drain: (connection) => calls.push('drain'),
      close: (connection, error) => calls.push(error ? error.code : 'close'),
      ${handlers}
    }, { giveBack: false, ${options} })
    const listen = ${listen}
  `
}

describe('a connection that is sending', () => {
  const SIZE = 8_000_000
  // Each byte tells its place, as far as a byte can. */
  const pattern = (length: number): Buffer =>
    Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) % 251))
  const servers = serving(`
    data(connection, bytes) {
      held.set(connection.id, connection)
      if (String(bytes) !== 'more') return void connection.write(bytes)
      connection.write(Buffer.from(Uint8Array.from({ length: ${SIZE} }, (_, i) => (i * 31 + (i >> 8)) % 251)))
      connection.write('end')
      connection.pause()
    },
    drain(connection) {
      calls.push('drain')
      connection.resume()
    }
  `)
  const expected = Buffer.concat([pattern(SIZE), Buffer.from('end')])

  async function stalled(path: string): Promise<{ first: Member; client: Socket }> {
    const first = new Member(path, { servers, options: { grace: '20s' } })
    const client = (await echoClient(await first.expect('ready'))).socket
    client.pause()
    client.write('more')
    await eventually(() => first.value('[...held.values()].some(({ queued }) => queued > 0)')).toBe(true)
    return { first, client }
  }

  async function received(client: Socket): Promise<Buffer> {
    const parts: Buffer[] = []
    let length = 0
    client.on('data', (part: Buffer) => {
      parts.push(part)
      length += part.length
    })
    client.resume()
    await until(() => length >= expected.length)
    return Buffer.concat(parts)
  }

  test('moves with its queue if the peer does not read, and every byte arrives', async () => {
    const path = handoverPath()
    const { first, client } = await stalled(path)
    const second = new Member(path, { servers })
    await second.expect('ready')
    await eventually(() => second.value('first.clients')).toBe(1)
    expect((await first.ended).code).toBe(0)
    expect((await received(client)).equals(expected)).toBe(true)
    // It is resumed by `drain` in the new process.
    expect(await second.value('calls')).toEqual(['moved', 'drain'])
    client.write('echo')
    expect(String((await once(client, 'data'))[0])).toBe('echo')
    client.destroy()
    await eventually(() => second.value('first.clients')).toBe(0)
    expect(await second.value('audit()')).toEqual([])
  })

  test('stays in the old process while the peer reads, and moves when all is sent', async () => {
    const path = handoverPath()
    const { first, client } = await stalled(path)
    // The kernel has taken something just now, so the queue is not at rest.
    const arrived = received(client)
    const second = new Member(path, { servers })
    await second.expect('ready')
    expect((await arrived).equals(expected)).toBe(true)
    await eventually(() => second.value('first.clients')).toBe(1)
    expect((await first.ended).code).toBe(0)
    client.write('echo')
    expect(String((await once(client, 'data'))[0])).toBe('echo')
    expect(await second.value('calls')).toEqual(['moved'])
  })
})

test('a paused connection stays until it is resumed, and what it has not read moves', async () => {
  const path = handoverPath()
  const servers = serving(`
    open(connection) {
      held.set('it', connection)
      connection.pause()
    },
    data: (connection, bytes) => void connection.write(process.pid + ':' + bytes)
  `)
  const first = new Member(path, { servers })
  const client = (await echoClient(await first.expect('ready'))).socket
  client.write('unread')
  await eventually(() => first.value('first.clients')).toBe(1)
  const second = new Member(path, { servers })
  expect((await second.expect('ready')).from).toMatchObject({ connections: 0, awake: 1 })
  await first.expect('handedOver')
  // The new process reaches it.
  const id = await first.value<number>("held.get('it').id")
  const data = once(client, 'data')
  expect(await second.value(`[first.send(${id}, 'hello'), first.send(${id + 1000}, 'hello')]`)).toEqual([true, false])
  expect(String((await data)[0])).toBe('hello')
  expect(await second.value('first.clients')).toBe(0)
  const answer = once(client, 'data')
  await first.value("(held.get('it').resume(), 0)")
  expect(String((await answer)[0])).toMatch(/^\d+:unread$/)
  await eventually(() => second.value('first.clients')).toBe(1)
  expect((await first.ended).code).toBe(0)
  const last = once(client, 'data')
  client.write('again')
  expect(String((await last)[0])).toBe(`${second.process.pid}:again`)
  expect(await second.value(`first.closeConnection(${id})`)).toBe(true)
  await until(() => client.closed)
  expect(await second.value('audit()')).toEqual([])
})

test('a paused connection is closed when the grace is over', async () => {
  const path = handoverPath()
  const servers = serving('open: (connection) => connection.pause()')
  const first = new Member(path, { servers, options: { grace: '200ms' } })
  const client = (await echoClient(await first.expect('ready'))).socket
  await eventually(() => first.value('first.clients')).toBe(1)
  const second = new Member(path, { servers })
  await second.expect('ready')
  await until(() => client.closed)
  expect((await first.ended).code).toBe(0)
  expect(await second.value('[first.clients, first.accepted]')).toEqual([0, 0])
  expect(await second.value('audit()')).toEqual([])
})

test('what was ended by one side moves, and ends there', async () => {
  const path = handoverPath()
  const servers = serving(`
    data(connection, bytes) {
      if (String(bytes) === 'end') connection.end('bye')
      else calls.push(String(bytes))
    }
  `)
  const first = new Member(path, { servers })
  const ready = await first.expect('ready')
  const { port } = ready.address as AddressInfo
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(client, 'connect')
  onTestFinished(() => void client.destroy())
  const ended = once(client.resume(), 'end')
  client.write('end')
  await ended
  const second = new Member(path, { servers })
  expect((await second.expect('ready')).from).toMatchObject({ connections: 1 })
  client.write('after the FIN')
  await eventually(() => second.value('calls')).toEqual(['moved', 'after the FIN'])
  client.end()
  await eventually(() => second.value('calls')).toEqual(['moved', 'after the FIN', 'close'])
  expect(await second.value('audit()')).toEqual([])
})

describe('before its first byte', () => {
  test('a connection has the rest of its time', async () => {
    const path = handoverPath()
    const limited = (time: string): string => serving('', `firstByteTimeout: '${time}'`)
    const first = new Member(path, { servers: limited('50s') })
    const ready = await first.expect('ready')
    const [silent, spoken] = (await echoClients(ready, 2)).map(({ socket }) => socket) as [Socket, Socket]
    spoken.write('hello')
    await eventually(() => first.value('first.silent.size')).toBe(1)
    const timed = '[...Array(100).keys()].filter((fd) => first.silent.has(fd))'
    const left = `first.silent.left(${timed}[0])`
    const before = await first.value<number>(left)
    // A new connection would have an hour.
    const second = new Member(path, { servers: limited('1h') })
    expect((await second.expect('ready')).from).toMatchObject({ connections: 2 })
    const after = await second.value<number>(left)
    // It may be rounded up by a seventh.
    expect([after > 0, after < (8 / 7) * before]).toEqual([true, true])
    await second.value(`(first.silent.add(${timed}[0], 1), 0)`)
    await until(() => silent.closed)
    expect(await second.value('[calls, first.clients]')).toEqual([['moved', 'moved', 'close'], 1])
    expect(await second.value('audit()')).toEqual([])
  })

  test('a header of the PROXY protocol is read by the process that has the connection', async () => {
    const path = handoverPath()
    const servers = serving(
      `
        open: () => calls.push('open'),
        data: (connection, bytes) => void connection.write(JSON.stringify(connection.remoteAddress) + bytes)
      `,
      "proxyProtocol: { timeout: '50s' }"
    )
    const header = 'PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n'
    const first = new Member(path, { servers })
    const ready = await first.expect('ready')
    const [early, half, late] = (await echoClients(ready, 3)).map(({ socket }) => socket) as [Socket, Socket, Socket]
    const said = once(early, 'data')
    early.write(`${header}one`)
    const told = '{"address":"192.0.2.1","family":"IPv4","port":1234}'
    expect(String((await said)[0])).toBe(`${told}one`)
    half.write(header.slice(0, 10))
    await eventually(() => first.value('first.clients')).toBe(3)
    // The part of the header has been read.
    await eventually(() => first.value('[...Array(100).keys()].some((fd) => first.proxy.isPartial(fd))')).toBe(true)
    const second = new Member(path, { servers })
    expect((await second.expect('ready')).from).toMatchObject({ connections: 2, awake: 1 })
    for (const [socket, text] of [
      [early, 'two'],
      [late, `${header}three`],
      [half, `${header.slice(10)}four`]
    ] as const) {
      const data = once(socket, 'data')
      socket.write(text)
      expect(String((await data)[0])).toBe(told + text.slice(text.indexOf('\n') + 1))
    }
    await eventually(() => second.value('first.clients')).toBe(3)
    expect((await first.ended).code).toBe(0)
    // Once for `late`; `half` was opened in the old process.
    expect(await second.value('calls.filter((call) => call === "open").length')).toBe(1)
    expect(await second.value('audit()')).toEqual([])
  })
})

test('several servers of different kinds move together, and the last process removes the file', async () => {
  const path = handoverPath()
  const file = join(dirname(path), 'app.sock')
  const servers = `
    const tcp = createListener({ ${'moved: (c) => c.write("moved"), '} data: (c, bytes) => void c.write('tcp ' + process.pid) })
    const unix = createListener({ data: (c, bytes) => void c.write('unix ' + process.pid) })
    const web = park(http.createServer((_, response) => response.end('web ' + process.pid)), { idle: '20ms' })
    const servers = { web, tcp, unix }
    const listen = { web: { port: 0, host: '127.0.0.1' }, tcp: { port: 0 }, unix: { path: ${JSON.stringify(file)} } }
  `
  const first = new Member(path, { servers })
  const ready = await first.expect('ready')
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => agent.destroy())
  const get = async (): Promise<string> => {
    const { port } = ready.address as AddressInfo
    const [response] = (await once(http.get({ port, host: '127.0.0.1', agent }), 'response')) as [http.IncomingMessage]
    return String(await response.toArray())
  }
  const port = await first.value<number>('tcp.address.port')
  const tcp = connect(port, '127.0.0.1')
  const unix = connect(file)
  onTestFinished(() => void [tcp, unix].map((socket) => socket.destroy()))
  const ask = async (socket: Socket): Promise<string> => {
    const data = once(socket, 'data')
    socket.write('?')
    return String((await data)[0])
  }
  const old = first.process.pid
  expect([await get(), await ask(tcp), await ask(unix)]).toEqual([`web ${old}`, `tcp ${old}`, `unix ${old}`])
  await eventually(() => first.value('web.stats().parked')).toBe(1)

  const moved = once(tcp, 'data')
  const second = new Member(path, { servers })
  expect((await second.expect('ready')).from).toMatchObject({ connections: 3, awake: 0 })
  expect(String((await moved)[0])).toBe('moved')
  await first.expect('handedOver')
  expect((await first.ended).code).toBe(0)
  expect(fs.existsSync(file)).toBe(true)
  const next = second.process.pid
  expect([await get(), await ask(tcp), await ask(unix)]).toEqual([`web ${next}`, `tcp ${next}`, `unix ${next}`])
  const later = connect(file)
  onTestFinished(() => void later.destroy())
  expect(await ask(later)).toBe(`unix ${next}`)
  expect(await second.value('unix.address')).toMatchObject({ path: file })
  await second.value('(web.shutdown({ grace: 0 }), tcp.shutdown({ grace: 0 }), unix.shutdown({ grace: 0 }), 0)')
  expect((await second.ended).code).toBe(0)
  expect([fs.existsSync(file), fs.existsSync(path)]).toEqual([false, false])
})

test('broadcasts, and all that a program does with a connection that is elsewhere, reach it', async () => {
  const path = handoverPath()
  const servers = serving(`
    open(connection) {
      held.set('it', connection)
      if (first.clients === 1) connection.pause()
    },
    data: (connection, bytes) => void connection.write(process.pid + ':' + bytes)
  `)
  const options = { servers, options: { grace: '20s' } }
  const first = new Member(path, options)
  const ready = await first.expect('ready')
  const stays = (await echoClient(ready)).socket
  await eventually(() => first.value('first.clients')).toBe(1)
  const moves = (await echoClient(ready)).socket
  await eventually(() => first.value('first.clients')).toBe(2)
  const second = new Member(path, options)
  expect((await second.expect('ready')).from).toMatchObject({ connections: 1, awake: 1 })
  await first.expect('handedOver')
  // A third one takes over while the first one still has a connection.
  const third = new Member(path, options)
  expect((await third.expect('ready')).from).toMatchObject({ connections: 1, awake: 1 })
  await second.expect('handedOver')

  const all = Promise.all([stays, moves].map((socket) => once(socket, 'data')))
  expect(await third.value("first.broadcast('to all')")).toBe(2)
  expect((await all).map(String)).toEqual(['to all', 'to all'])
  expect(await third.value("first.broadcast('to none', () => false)")).toBe(0)

  // Through two processes.
  let text = ''
  moves.on('data', (bytes: Buffer) => {
    text += bytes.toString()
  })
  expect(await first.value("(held.get('it').pause(), held.get('it').write('written, '))")).toBe(true)
  await until(() => text === 'written, ')
  // The pause came before these bytes.
  const moved = await first.value<number>("held.get('it').id")
  expect(await third.value(`first.reactor.state[first.find(${moved})]`)).toBe(1)
  moves.write('read')
  await first.value("(held.get('it').resume(), 0)")
  await until(() => text === `written, ${third.process.pid}:read`)
  const ended = once(moves, 'end')
  await first.value("(held.get('it').end(', and the end'), 0)")
  await ended
  expect(text).toBe(`written, ${third.process.pid}:read, and the end`)
  // Closes the one that is still in the first process.
  const ids = await first.value<number[]>('[...Array(100).keys()].map((fd) => first.reactor.serial[fd])')
  const id = await first.value<number>('first.reactor.serial[first.reactor.next(first.owner, -1)]')
  expect(ids).toContain(id)
  expect(await third.value(`first.closeConnection(${id})`)).toBe(true)
  await until(() => stays.closed)
  for (const member of [first, second]) expect((await member.ended).code).toBe(0)
  await eventually(() => third.value('first.clients')).toBe(0)
  expect(await third.value(`first.send(${id}, 'x')`)).toBe(false)
  expect(await third.value('audit()')).toEqual([])
})

test('a process does not end before all that it passes on has been sent', async () => {
  const path = handoverPath()
  const SIZE = 3_000_000
  const servers = serving(`data: (connection) => void held.set('it', connection)`)
  const first = new Member(path, { servers })
  const client = (await echoClient(await first.expect('ready'))).socket
  client.write('begin')
  await eventually(() => first.value('held.size')).toBe(1)
  await first.value('(globalThis.work = setInterval(() => {}, 1000), 0)')
  const second = new Member(path, { servers })
  await second.expect('ready')
  await first.expect('handedOver')
  let length = 0
  client.on('data', (bytes: Buffer) => {
    length += bytes.length
  })
  await first.value(`(held.get('it').write(Buffer.alloc(${SIZE}, 'x')), clearInterval(work), 0)`)
  expect((await first.ended).code).toBe(0)
  await until(() => length === SIZE)
  expect(await second.value('audit()')).toEqual([])
})

test('five handovers under load: every byte comes back, in order, and no client is refused', async () => {
  const path = handoverPath()
  const servers = serving(`
    data(connection, bytes) {
      if (!connection.write(bytes)) connection.pause()
    },
    drain: (connection) => connection.resume()
  `)
  const options = { servers, options: { grace: '20s' } }
  let current = new Member(path, options)
  const ready = await current.expect('ready')
  const { port } = ready.address as AddressInfo
  let isRunning = true
  const counts = { small: 0, large: 0, fresh: 0 }
  /** Sends `length` bytes and reads as many, and compares. */
  const echo = async (socket: Socket, length: number): Promise<void> => {
    const bytes = Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) % 251))
    const parts: Buffer[] = []
    let received = 0
    const done = new Promise<void>((resolve, reject) => {
      socket.on('data', (part: Buffer) => {
        parts.push(part)
        received += part.length
        if (received >= length) resolve()
      })
      socket.once('close', () => reject(new Error(`closed after ${received} of ${length} bytes`)))
    })
    socket.write(bytes)
    await done
    socket.removeAllListeners('data').removeAllListeners('close')
    expect(Buffer.concat(parts).equals(bytes)).toBe(true)
  }
  const open = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    onTestFinished(() => void socket.destroy())
    return socket
  }
  // Leaves CPU time for the processes that start meanwhile.
  const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))
  const small = Array.from({ length: 8 }, async () => {
    const socket = await open()
    for (; isRunning; counts.small++) await echo(socket, 100).then(rest)
  })
  const large = Array.from({ length: 2 }, async () => {
    const socket = await open()
    for (; isRunning; counts.large++) await echo(socket, 2_000_000).then(rest)
  })
  const fresh = (async () => {
    for (; isRunning; counts.fresh++) {
      const socket = await open()
      await echo(socket, 10)
      socket.destroy()
      await rest()
    }
  })()
  await eventually(async () => Math.min(...Object.values(counts))).toBeGreaterThan(0)
  for (let i = 0; i < 5; i++) {
    const next = new Member(path, options)
    await next.expect('ready')
    const before = { ...counts }
    await eventually(async () => counts.small - before.small).toBeGreaterThan(20)
    await eventually(async () => counts.large - before.large).toBeGreaterThan(0)
    current = next
  }
  isRunning = false
  await Promise.all([...small, ...large, fresh])
  await eventually(() => current.value('first.clients')).toBe(10)
  expect(await current.value('audit()')).toEqual([])
})

describe('refused in one sentence', () => {
  test('a listener that listens already, and one that is closed', async () => {
    const options = { path: handoverPath(), listen: { port: 0 } }
    const error = { code: 'ERR_INVALID_ARG_VALUE', message: expect.stringContaining('make it with createListener()') }
    const listening = listen({ port: 0, giveBack: false })
    await expect(handover(listening, options)).rejects.toThrow(expect.objectContaining(error))
    await listening.close()
    const closed = createListener()
    await closed.close()
    await expect(handover([closed], { ...options, listen: [{ port: 0 }] })).rejects.toThrow(
      expect.objectContaining(error)
    )
    await expect(handover(createListener(), { ...options, listen: { port: -1 } })).rejects.toThrow(/port/)
    expect(fs.existsSync(options.path)).toBe(false)
  })

  test.each(['thread', 'cluster'])('handover() in a worker: %s', async (kind) => {
    const file = fileURLToPath(new URL('../support/handover-in-worker.mjs', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [file, kind, handoverPath()])
    expect(stdout).toMatch(/^ERR_EBB_HANDOVER: handover\(\) does not work in a worker .*\n$/)
  })
})
