import http from 'node:http'
import type { Server, Socket } from 'node:net'
import { type Parked, type ParkOptions, park } from 'ebb'
import { type Connection, createServer } from 'ebb/net'
import { describe, expect, test } from 'vitest'
import { Child } from '../support/child.js'
import { descriptorsReturn } from '../support/net-parity.js'
import { client, listening } from '../support/parked.js'
import { gone, readExactly, until } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 25
const CHUNK = Buffer.alloc(256 * 1024, 'x')
/** More than the kernel buffers for a connection. */
const MOST = 200

/** An HTTP server whose only response is a stream, and a reader of it that stops reading. */
async function stream(options: ParkOptions): Promise<{ server: Server & Parked; id: number; reader: Socket }> {
  let id = 0
  const server: http.Server & Parked = await listening(
    park(
      http.createServer((_, response) => {
        id = server.stream(response).id
      }),
      { idle: IDLE, ...options }
    )
  )
  const reader = await client(server)
  reader.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => id > 0 && server.stats().parked === 1)
  return { server, id, reader }
}

/** Sends until a call is refused. @returns how many calls were not */
function fill(server: Parked, id: number): number {
  for (let sent = 0; sent < MOST; sent++) if (!server.send(id, CHUNK)) return sent
  return MOST
}

describe('of a stream', () => {
  test('close: the connection is closed, and counts as slow', async () => {
    const { server, id, reader } = await stream({ maxQueued: 2 * CHUNK.length })
    const causes: string[] = []
    server.on('disconnect', (_, cause: string) => causes.push(cause))
    expect(fill(server, id)).toBeLessThan(MOST)
    await until(() => server.stats().closed.slow === 1)
    expect(server.stats()).toMatchObject({ parked: 0, awake: 0 })
    expect([causes, server.queued(id), server.send(id, 'x')]).toEqual([['slow'], 0, false])
    await gone(reader.resume())
  })

  test('drop: whole calls are dropped, and the reader gets the others in order', async () => {
    const { server, id, reader } = await stream({ maxQueued: 2 * CHUNK.length, overflow: 'drop' })
    const sent: number[] = []
    for (let i = 0; i < MOST; i++) {
      if (server.send(id, Buffer.alloc(CHUNK.length, String.fromCharCode(i + 1)))) sent.push(i + 1)
      expect(server.queued(id)).toBeLessThanOrEqual(2 * CHUNK.length)
    }
    expect(sent.length).toBeLessThan(MOST)
    expect(await server.broadcast(CHUNK)).toBe(0)
    let head = ''
    while (!head.endsWith('\r\n\r\n')) head += await readExactly(reader, 1)
    for (const byte of sent) {
      const bytes = await readExactly(reader, CHUNK.length)
      expect(bytes.equals(Buffer.alloc(CHUNK.length, String.fromCharCode(byte)))).toBe(true)
    }
    // When it has caught up, it sleeps again, and gets what is sent.
    await until(() => server.stats().parked === 1)
    expect(server.send(id, 'later')).toBe(true)
    expect(`${await readExactly(reader, 5)}`).toBe('later')
  })

  test('one message may be larger, if nothing waits before it', async () => {
    const { server, id, reader } = await stream({ maxQueued: 0 })
    expect(server.send(id, Buffer.alloc(MOST * CHUNK.length))).toBe(true)
    expect(server.queued(id)).toBeGreaterThan(CHUNK.length)
    expect(server.send(id, 'x')).toBe(false)
    await gone(reader.resume())
    await until(() => server.stats().closed.slow === 1)
  })

  test('there is a limit by default', async () => {
    const { server, id } = await stream({})
    expect(fill(server, id)).toBeLessThan(MOST)
    await until(() => server.stats().closed.slow === 1)
  })

  test('Infinity: there is none', async () => {
    const { server, id } = await stream({ maxQueued: Number.POSITIVE_INFINITY })
    expect(fill(server, id)).toBe(MOST)
  })
})

test('other connections have no limit by default', async () => {
  for (const [options, limited] of [
    [{}, false],
    [{ maxQueued: CHUNK.length }, true]
  ] as const) {
    const server = await listening(
      createServer({ idle: IDLE, ...options }, (socket) => socket.resume().on('error', () => {}))
    )
    const socket = await client(server)
    let id = 0
    server.once('connection', (_: Socket, connection: Connection) => {
      id = connection.id
    })
    socket.write('x')
    await until(() => server.stats().parked === 1 && id > 0)
    if (limited) expect(fill(server, id)).toBeLessThan(MOST)
    else expect(fill(server, id)).toBe(MOST)
    expect(server.stats().closed.slow).toBe(0)
    if (limited) await until(() => server.stats().closed.slow === 1)
  }
})

test('values that are not valid', () => {
  for (const options of [{ maxQueued: -1 }, { maxQueued: Number.NaN }, { maxQueued: '1' }, { overflow: 'wait' }]) {
    const code = expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' })
    expect(() => park(http.createServer(), options as unknown as ParkOptions)).toThrow(code)
  }
})

for (const way of ['maxQueued', 'closeConnection']) {
  test(`nothing is kept of what waited for a slow reader that was closed by ${way}`, async () => {
    const child = new Child(
      `
      import http from 'node:http'
      import { connect } from 'node:net'
      import { park } from 'ebb'
      const server = park(http.createServer((_, response) => { id = server.stream(response).id }),
        { idle: 20, maxQueued: ${way === 'maxQueued' ? 40_000_000 : 'Infinity'} })
      let id = 0
      const turn = () => new Promise((resolve) => setTimeout(resolve, 10))
      server.listen(0, '127.0.0.1', async () => {
        const reader = connect(server.address().port, '127.0.0.1').on('error', () => {})
        reader.write('GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
        while (server.stats().parked === 0 || id === 0) await turn()
        let highest = 0
        for (let i = 0; i < 400 && server.send(id, Buffer.alloc(200_000)); i++) highest = Math.max(highest, server.queued(id))
        server.closeConnection(id)
        while (server.stats().awake + server.stats().parked > 0) await turn()
        for (let i = 0; i < 5; i++) { await turn(); gc() }
        console.log(JSON.stringify({ highest, kept: process.memoryUsage().arrayBuffers, slow: server.stats().closed.slow }))
        process.exit()
      })`,
      { args: ['--expose-gc'] }
    )
    const { highest, kept, slow } = await child.next<{ highest: number; kept: number; slow: number }>()
    expect(slow).toBe(way === 'maxQueued' ? 1 : 0)
    expect(kept).toBeLessThan(0.1 * highest)
  })
}
