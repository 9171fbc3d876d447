/**
 * Connections that break, handlers that throw, processes that are killed: one `close` for each `open`, and no leaks.
 */
import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import {
  client,
  clients,
  descriptors,
  freePort,
  gone,
  quiet,
  readAll,
  readExactly,
  target,
  uncaught,
  until
} from '../../../../test/support/sockets.js'
import type { AddressInfo } from '../sys/sockaddr.js'
import type { Connection } from './connection.js'
import type { Handlers } from './handlers.js'
import { listen } from './listen.js'
import { serve } from './testing/serve.js'

// Opens the descriptors that ebb keeps for the life of the process, before descriptors are counted.
await listen({ port: 0, giveBack: false }).close()

const MEGABYTE = Buffer.alloc(1_000_000, 'abcdefg')

function block(connection: Connection): void {
  while (connection.write(MEGABYTE)) {
    // Until the kernel takes no more.
  }
  // The kernel may take a little more, but less than this.
  connection.write(MEGABYTE)
}

describe('a RST in place of a FIN', () => {
  const stages: [string, Handlers['open'], boolean][] = [
    ['open', undefined, true],
    ['blocked', block, true],
    ['paused', (connection) => connection.pause(), true],
    [
      'blocked and paused',
      (connection) => {
        block(connection)
        connection.pause()
      },
      true
    ],
    ['ended', (connection) => connection.end(), true],
    [
      'ended and paused',
      (connection) => {
        connection.end()
        connection.pause()
      },
      true
    ],
    [
      'ending with bytes waiting',
      (connection) => {
        block(connection)
        connection.end()
      },
      true
    ]
  ]
  test.each(stages)('%s', async (_, open) => {
    const before = descriptors()
    const opened: number[] = []
    const closed: [number, string | undefined][] = []
    const handles: Connection[] = []
    const listener = serve({
      open(connection) {
        opened.push(connection.id)
        handles.push(connection)
        open?.(connection)
      },
      data: () => {},
      close: ({ id }, error) => void closed.push([id, error?.code])
    })
    const sockets = await clients(listener.address, 20)
    await until(() => opened.length === 20)
    for (const socket of sockets) socket.resetAndDestroy()
    await until(() => listener.clients === 0)
    await quiet()
    expect(closed.sort()).toEqual(opened.map((id) => [id, 'ECONNRESET']).sort())
    expect(handles.every(({ queued }) => queued === 0)).toBe(true)
    const done = listener.close()
    await Promise.all([done, ...sockets.map(gone)])
    expect(descriptors()).toBe(before)
  })

  test('while bytes wait to be sent to a peer that has sent its FIN', async () => {
    const closed: (string | undefined)[] = []
    let ended = false
    const listener = serve({
      open: block,
      data() {
        ended = true
      },
      close: (_, error) => void closed.push(error?.code)
    })
    const socket = await client(listener.address)
    socket.end('x')
    await until(() => ended)
    await quiet()
    socket.resetAndDestroy()
    await until(() => closed.length > 0)
    await quiet()
    // Linux reports a RST after a FIN as EPIPE.
    expect(closed).toEqual(['EPIPE'])
  })

  test('found by a write: write() returns false, and close gets the error after the handler has returned', async () => {
    const log: unknown[] = []
    let handle: Connection | undefined
    const listener = serve({
      open(connection) {
        connection.pause()
        handle = connection
      },
      drain: () => void log.push('drain'),
      close: (_, error) => void log.push(error?.code)
    })
    const socket = await client(listener.address)
    await until(() => handle !== undefined)
    const connection = handle as Connection
    socket.resetAndDestroy()
    await gone(socket)
    // The RST has arrived, but this is the same turn, so the reactor has not seen it.
    log.push(connection.write('x'), connection.write('y'), connection.closed)
    connection.resume()
    connection.pause()
    connection.resume()
    connection.end()
    await until(() => connection.closed)
    await quiet()
    // Either epoll or the write may report it first.
    expect(log.at(-1)).toBe('ECONNRESET')
    expect(log.slice(0, -1).every((said) => said === false || said === true)).toBe(true)
  })

  test('before it is accepted', async () => {
    const log: string[] = []
    const listener = serve({
      open: ({ id }) => void log.push(`open ${id}`),
      close: ({ id }) => void log.push(`close ${id}`),
      data: (connection, bytes) => void connection.write(bytes)
    })
    const child = new Child(`
      import net from 'node:net'
      const sockets = Array.from({ length: 50 }, () => net.connect(${JSON.stringify(target(listener.address))}))
      let connected = 0
      for (const socket of sockets) {
        socket.on('connect', () => {
          if (++connected < sockets.length) return
          for (const one of sockets) one.resetAndDestroy()
          console.log('"reset"')
        })
      }
      process.stdin.resume()`)
    // The kernel completes handshakes while the server is busy.
    const end = performance.now() + 700
    while (performance.now() < end) {
      // Busy.
    }
    expect(await child.next()).toBe('reset')
    await until(() => listener.accepted > 0 && listener.clients === 0)
    await quiet()
    expect(log.filter((entry) => entry.startsWith('close')).sort()).toEqual(
      log.flatMap((entry) => (entry.startsWith('open') ? [entry.replace('open', 'close')] : [])).sort()
    )
    const socket = await client(listener.address)
    socket.write('still here')
    expect(`${await readExactly(socket, 10)}`).toBe('still here')
  })
})

describe('a handler that throws', () => {
  test.each(['open', 'data', 'drain', 'close'] as const)(
    '%s: the process hears it, the others are served, nothing is left',
    async (name) => {
      const before = descriptors()
      const log: string[] = []
      let broken = 0
      const bad = new Set<number>()
      const fail = (handler: string, { id }: Connection): void => {
        log.push(`${handler} ${id}`)
        if (handler === name && (bad.has(id) || bad.size < 5)) {
          if (!bad.has(id)) bad.add(id)
          broken++
          throw new Error(`${handler} of ${id}`)
        }
      }
      const listener = listen(
        { port: 0, giveBack: false },
        {
          open(connection) {
            fail('open', connection)
          },
          data(connection, bytes) {
            if (name === 'drain') block(connection)
            else connection.write(bytes)
            fail('data', connection)
          },
          drain(connection) {
            fail('drain', connection)
          },
          close(connection) {
            fail('close', connection)
          }
        }
      )
      let sockets: Socket[] = []
      const errors = await uncaught(async () => {
        sockets = await clients(listener.address, 20)
        await until(() => listener.accepted === 20)
        for (const socket of sockets) socket.write('x')
        for (const socket of sockets) await readExactly(socket, 1)
        if (name === 'drain') {
          for (const socket of sockets) socket.resume()
          await until(() => log.filter((entry) => entry.startsWith('drain')).length === 20)
        }
        for (const socket of sockets) socket.resume().end()
        await until(() => listener.clients === 0)
        await listener.close()
        await Promise.all(sockets.map(gone))
        await quiet()
      })
      expect(broken).toBe(5)
      expect(errors.map((error) => (error as Error).message).sort()).toEqual(
        [...bad].map((id) => `${name} of ${id}`).sort()
      )
      for (const handler of ['open', 'data', 'close']) {
        expect(new Set(log.filter((entry) => entry.startsWith(handler))).size).toBe(20)
      }
      expect(descriptors()).toBe(before)
    }
  )

  test('close, within closeConnections(): all connections are closed, and the first error is thrown', async () => {
    const listener = listen(
      { port: 0, giveBack: false },
      {
        close({ id }) {
          closed.push(id)
          throw new Error(`${id}`)
        }
      }
    )
    const closed: number[] = []
    const sockets = await clients(listener.address, 10)
    await until(() => listener.accepted === 10)
    const done = listener.close()
    let thrown: unknown
    try {
      listener.closeConnections()
    } catch (error) {
      thrown = error
    }
    await done
    expect(closed).toHaveLength(10)
    expect((thrown as Error).message).toBe(`${closed[0]}`)
    for (const socket of sockets) socket.destroy()
  })

  test('without an uncaughtException listener, it ends the process like any error', async () => {
    const child = new Child(`
      import { listen } from 'ebb'
      const { address } = listen({ port: 0 }, { open() { throw new Error('mine') } })
      console.log(JSON.stringify(address))`)
    connect(target(await child.next<AddressInfo>())).on('error', () => {})
    expect(await child.ended).toMatchObject({ code: 1, stderr: expect.stringContaining('Error: mine') })
  })
})

describe('killed', () => {
  test('a client process with many connections: each is closed once', async () => {
    const open = new Set<number>()
    const closed: number[] = []
    const before = descriptors()
    const listener = serve({ open: ({ id }) => void open.add(id), close: ({ id }) => void closed.push(id) })
    const child = new Child(`
      import net from 'node:net'
      let connected = 0
      for (let i = 0; i < 500; i++) {
        net.connect(${JSON.stringify(target(listener.address))}, () => ++connected === 500 && console.log('"all"'))
      }`)
    expect(await child.next()).toBe('all')
    await until(() => listener.clients === 500)
    child.process.kill('SIGKILL')
    await until(() => listener.clients === 0)
    expect(closed).toHaveLength(500)
    expect(new Set(closed)).toEqual(open)
    await child.ended
    await listener.close()
    expect(descriptors()).toBeLessThanOrEqual(before)
  })

  test('a client process while it connects', async () => {
    const open = new Set<number>()
    const closed = new Set<number>()
    const listener = serve({ open: ({ id }) => void open.add(id), close: ({ id }) => void closed.add(id) })
    const child = new Child(`
      import net from 'node:net'
      setInterval(() => {
        for (let i = 0; i < 50; i++) net.connect(${JSON.stringify(target(listener.address))}).on('error', () => {})
      }, 1)`)
    await until(() => listener.accepted > 200)
    child.process.kill('SIGKILL')
    await child.ended
    await until(() => listener.clients === 0)
    await quiet()
    expect(listener.clients).toBe(0)
    expect(closed).toEqual(open)
  })

  test('the server: its clients are told, and its port is free', async () => {
    // Not a port that the kernel chooses: another test's client could get it as soon as it is free.
    const port = await freePort()
    const child = new Child(`
      import { listen } from 'ebb'
      console.log(JSON.stringify(listen({ port: ${port} }, { data: (c, bytes) => c.write(bytes) }).address))`)
    const address = await child.next<AddressInfo>()
    const sockets = await clients(address, 200)
    for (const socket of sockets) socket.write('x')
    for (const socket of sockets) await readExactly(socket, 1)
    const ends = sockets.map((socket) => readAll(socket).catch(() => Buffer.alloc(0)))
    child.process.kill('SIGKILL')
    expect(Buffer.concat(await Promise.all(ends))).toHaveLength(0)
    for (const socket of sockets) socket.destroy()
    const listener = serve({}, 'port' in address ? { port: address.port } : { path: address.path })
    expect(listener.address).toEqual(address)
  })
})

test('a handler that throws during a connect storm: every connection is accepted', async () => {
  let opened = 0
  const server = serve({
    open() {
      if (++opened % 50 === 0) throw new Error('open')
    }
  })
  const errors = await uncaught(async () => {
    for (let round = 1; round <= 4; round++) {
      const sockets = await clients(server.address, 400)
      await until(() => server.accepted === round * 400)
      for (const socket of sockets) socket.destroy()
      await until(() => server.clients === 0)
    }
  })
  expect(errors).toHaveLength(32)
})
