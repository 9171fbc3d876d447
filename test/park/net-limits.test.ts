/** Limits of a parked TCP server: `maxConnections`, `close()` during a connect storm, and no descriptor left. */
import { connect, type DropArgument, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import { reactor } from 'ebb/sys'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Child } from '../support/child.js'
import {
  addressOf,
  client,
  clients,
  descriptorsReturn,
  eventually,
  expectSame,
  expectSum,
  getConnections,
  listening,
  outcome,
  stats
} from '../support/net-parity.js'
import { directory, gone, quiet, readExactly, uncaught } from '../support/sockets.js'

descriptorsReturn()

const IDLE = 5

/** Returns the owner number that the reactor would give to the next watcher. */
function freeOwner(): number {
  const owner = reactor().register({ ready: () => {} })
  reactor().unregister(owner)
  return owner
}

describe('maxConnections', () => {
  test('connections above it are dropped with the event of plain Node, and closing one makes room', async () => {
    const seen = await expectSame(async (kind) => {
      const drops: (DropArgument | undefined)[] = []
      const server = kind.create({}, (socket) => socket.on('data', (bytes) => socket.write(bytes)))
      server.maxConnections = 3
      server.on('drop', (data) => drops.push(data))
      await listening(server)
      const { port } = addressOf(server) as { port: number }
      const peers: Socket[] = []
      for (let i = 0; i < 3; i++) peers.push(await client(server))
      while ((await getConnections(server)) < 3) await quiet()
      const dropped: Socket[] = []
      for (let i = 0; i < 2; i++) {
        const peer = await client(server)
        dropped.push(peer)
        await gone(peer.resume().on('end', () => peer.end()))
      }
      const data = drops.map((drop, i) => ({
        ...drop,
        keys: Object.keys(drop ?? {}),
        // Only of this run.
        localPort: drop?.localPort === port,
        remotePort: drop?.remotePort !== undefined && drop.remotePort === dropped[i]?.localPort
      }))
      // Accepted connections are served, and when one closes, another is accepted.
      for (const peer of peers) {
        peer.write('x')
        await readExactly(peer, 1)
      }
      peers[0]?.destroy()
      while ((await getConnections(server)) > 2) await quiet()
      const next = await client(server)
      next.write('x')
      await readExactly(next, 1)
      return { data: data.length, drops: drops.length, of: data, now: await getConnections(server) }
    })
    expect(seen).toMatchObject({ drops: 2, now: 3 })
  })

  test('remotePort is that of the dropped connection', async () => {
    const ports: (number | undefined)[] = []
    const server = createServer({ idle: IDLE })
    server.maxConnections = 1
    server.on('drop', (data) => ports.push(data?.remotePort))
    await listening(server)
    await client(server)
    await stats(server, { parked: 1 })
    const peer = await client(server)
    const { localPort } = peer
    await gone(peer.resume().on('end', () => peer.end()))
    expect(ports).toEqual([localPort])
    expect(server.stats()).toMatchObject({ parked: 1, dropped: 1 })
    expectSum(server)
  })

  test('parked and awake connections both count', async () => {
    const server = createServer({ idle: false }, (socket) => socket.on('data', (bytes) => socket.write(bytes)))
    server.maxConnections = 4
    let drops = 0
    server.on('drop', () => drops++)
    await listening(server)
    const peers = await clients(server, 4)
    await stats(server, { parked: 4 })
    for (const peer of peers.slice(0, 2)) {
      peer.write('x')
      await readExactly(peer, 1)
    }
    expect(server.stats()).toMatchObject({ parked: 2, awake: 2 })
    const more = await clients(server, 3)
    await Promise.all(more.map((peer) => outcome(peer)))
    expect(drops).toBe(3)
    expect(server.stats()).toMatchObject({ parked: 2, awake: 2, dropped: 3, accepted: 4 })
    // Set while the server listens.
    server.maxConnections = 5
    const late = await client(server)
    late.write('x')
    await readExactly(late, 1)
    expect(server.stats()).toMatchObject({ awake: 3, dropped: 3 })
    expectSum(server)
  })

  test.each([0, -1, undefined, Number.POSITIVE_INFINITY])(
    '%j means the same as in plain Node',
    async (maxConnections) => {
      await expectSame(async (kind) => {
        const server = kind.create({}, (socket) => socket.on('data', (bytes) => socket.write(bytes)))
        server.maxConnections = maxConnections as number
        await listening(server)
        const peers = await clients(server, 2)
        const echoed: boolean[] = []
        for (const peer of peers) {
          peer.on('error', () => {})
          peer.write('x')
          echoed.push(
            await readExactly(peer, 1).then(
              () => true,
              () => false
            )
          )
        }
        return echoed
      })
    }
  )

  test('a drop listener that throws: uncaught, and the connection is dropped', async () => {
    const server = createServer({ idle: IDLE }, (socket) => socket.on('data', (bytes) => socket.write(bytes)))
    server.maxConnections = 1
    server.on('drop', () => {
      throw new Error('of the listener')
    })
    await listening(server)
    const first = await client(server)
    await stats(server, { parked: 1 })
    const thrown = await uncaught(async () => {
      for (let i = 0; i < 3; i++) expect(await outcome(await client(server))).toMatchObject({ received: '' })
    })
    expect(thrown.map(String)).toEqual(Array(3).fill('Error: of the listener'))
    first.write('x')
    await readExactly(first, 1)
    expect(server.stats()).toMatchObject({ dropped: 3, accepted: 1 })
  })

  test('on a Unix path: the drop event has no data, as in plain Node', async () => {
    await expectSame(async (kind) => {
      const drops: unknown[] = []
      const server = kind.create({}, (socket) => socket.resume())
      server.maxConnections = 1
      server.on('drop', (...data) => drops.push(data))
      await listening(server, { path: join(directory(), 'there') })
      await client(server)
      const peer = await client(server)
      await gone(peer.resume().on('end', () => peer.end()))
      return drops
    })
  })
})

describe('getConnections()', () => {
  test('counts parked and awake connections', async () => {
    await expectSame(async (kind) => {
      const server = await listening(
        kind.create({}, (socket) => {
          socket.on('error', () => {})
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
      const counts: number[] = [await getConnections(server)]
      const peers = await clients(server, 8)
      while ((await getConnections(server)) < 8) await quiet()
      for (const peer of peers.slice(0, 4)) {
        peer.write('x')
        await readExactly(peer, 1)
      }
      counts.push(await getConnections(server))
      await quiet()
      counts.push(await getConnections(server))
      for (const peer of peers.slice(2, 5)) peer.destroy()
      while ((await getConnections(server)) > 5) await quiet()
      counts.push(await getConnections(server))
      return counts
    })
  })

  test('counts also after close(), until the last connection has closed', async () => {
    await expectSame(async (kind) => {
      const server = await listening(kind.create({}, (socket) => socket.on('data', (bytes) => socket.write(bytes))))
      const peers = await clients(server, 2)
      while ((await getConnections(server)) < 2) await quiet()
      server.close()
      const during = [await getConnections(server), server.listening, server.address()]
      for (const peer of peers) peer.destroy()
      await new Promise((resolve) => server.once('close', resolve))
      return [during, await getConnections(server)]
    })
  })
})

describe('close()', () => {
  test('parked connections are still served, and the server closes with the last of them', async () => {
    await expectSame(async (kind) => {
      const events: string[] = []
      const server = await listening(
        kind.create({}, (socket) => {
          socket.on('error', () => {})
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
      server.on('close', () => events.push('close'))
      const [awake, parkedOne] = (await clients(server, 2)) as [Socket, Socket]
      while ((await getConnections(server)) < 2) await quiet()
      awake.write('x')
      await readExactly(awake, 1)
      server.close((error) => events.push(`callback ${error ?? ''}`))
      await quiet()
      for (const peer of [awake, parkedOne]) {
        peer.write('still there')
        events.push(`${await readExactly(peer, 11)}`)
      }
      awake.destroy()
      await quiet()
      events.push(`${server.listening} ${await getConnections(server)}`)
      parkedOne.destroy()
      await eventually(() => expect(events).toContain('close'))
      return events
    })
  })

  test('leaves the reactor when its last parked connection is woken', async () => {
    const before = freeOwner()
    const server = createServer({ idle: false }, (socket) => socket.pipe(socket))
    const [peer] = (await clients(await listening(server), 1)) as [Socket]
    await stats(server, { parked: 1, awake: 0 })
    server.close()
    expect(freeOwner()).toBeGreaterThan(before)
    peer.write('x')
    await readExactly(peer, 1)
    expect(freeOwner()).toBe(before)
    peer.destroy()
    await stats(server, { parked: 0, awake: 0 })
  })

  test('of a server that does not listen: the error of plain Node', async () => {
    await expectSame(async (kind) => {
      const server = kind.create({})
      const said = await new Promise<unknown>((resolve) =>
        server.close((error) => resolve([(error as NodeJS.ErrnoException).code, error?.message]))
      )
      return said
    })
  })

  test('then listen() again, with connections from before', async () => {
    await expectSame(async (kind) => {
      const server = kind.create({}, (socket) => {
        socket.on('error', () => {})
        socket.on('data', (bytes) => socket.write(bytes))
      })
      await listening(server)
      const old = await client(server)
      while ((await getConnections(server)) < 1) await quiet()
      server.close()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const fresh = await client(server)
      const seen: string[] = []
      for (const peer of [old, fresh]) {
        peer.write('hello')
        seen.push(`${await readExactly(peer, 5)}`)
      }
      seen.push(`${await getConnections(server)}`)
      return seen
    })
  })

  test('of one server: the connections of another are parked, woken and written to as before', async () => {
    const make = (): Promise<ParkServer> =>
      listening(
        createServer({ idle: IDLE }, (socket) => {
          socket.on('error', () => {})
          socket.on('data', (bytes) => socket.write(bytes))
        })
      )
    const [one, other] = [await make(), await make()]
    const peers = await clients(other, 20)
    const others = await clients(one, 20)
    await stats(one, { parked: 20 })
    for (const peer of others) peer.destroy()
    await new Promise((resolve) => one.close(resolve))
    // The new server gets the port of the first.
    const third = await make()
    const last = await clients(third, 20)
    for (let round = 1; round <= 2; round++) {
      for (const peer of [...peers, ...last]) peer.write('x')
      for (const peer of [...peers, ...last]) expect(`${await readExactly(peer, 1)}`).toBe('x')
      for (const server of [other, third]) await stats(server, { parked: 20, awake: 0, woken: 20 * round })
    }
    expect([await other.broadcast('other'), await third.broadcast('third'), await one.broadcast('x')]).toEqual([
      20, 20, 0
    ])
    for (const peer of peers) expect(`${await readExactly(peer, 5)}`).toBe('other')
    for (const peer of last) expect(`${await readExactly(peer, 5)}`).toBe('third')
    expect(one.stats()).toMatchObject({ parked: 0, awake: 0, accepted: 20 })
  })

  test('during a connect storm: accepted connections are served, others refused, and close is emitted once', async () => {
    let server: ParkServer | undefined
    let closes = 0
    let callbacks = 0
    const made = createServer({ idle: IDLE }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', (bytes) => socket.write(bytes))
    })
    server = await listening(made)
    server.on('close', () => closes++)
    const { host, port } = addressOf(server) as { host: string; port: number }
    let connected = 0
    let echoed = 0
    let over = 0
    const peers: Socket[] = []
    for (let i = 0; i < 3000; i++) {
      const peer = connect({ host, port })
      peers.push(peer)
      peer.on('error', () => {})
      peer.on('connect', () => {
        if (++connected === 1000) server?.close(() => callbacks++)
        peer.write('x')
      })
      peer.on('data', () => {
        echoed++
        // Some close at once, some after they were parked, some with a RST.
        if (i % 3 === 0) peer.end()
        else if (i % 3 === 1) peer.resetAndDestroy()
        else setTimeout(() => peer.end(), 4 * IDLE)
      })
      peer.on('close', () => over++)
    }
    await eventually(() => expect(over).toBe(3000))
    await eventually(() => expect([closes, callbacks]).toEqual([1, 1]))
    expect(connected).toBeGreaterThanOrEqual(1000)
    expect(server.stats()).toMatchObject({ parked: 0, awake: 0 })
    // Each connection that was accepted and sent something was answered.
    expect(echoed).toBeGreaterThan(0)
    expect(echoed).toBeLessThanOrEqual(server.stats().accepted)
    expect(server.stats().woken).toBeGreaterThanOrEqual(echoed)
    expectSum(server)
  })

  test('within a listener, and within disconnect', async () => {
    for (const event of ['connection', 'disconnect']) {
      const server = await listening(createServer({ idle: IDLE }, (socket) => socket.resume()))
      server.on(event, () => {
        if (server.listening) server.close()
      })
      const peers = await clients(server, 3)
      for (const peer of peers) peer.write('x')
      await quiet()
      for (const peer of peers) peer.end()
      await eventually(() => expect(server.listening).toBe(false))
      await stats(server, { parked: 0, awake: 0 })
    }
  })
})

/** A server in a process with few descriptors. Commands by line: `stats`, `fill` (uses up all descriptors), `free`. */
const few = (options: string): string => `
  import { closeSync, openSync } from 'node:fs'
  import { createServer } from 'ebb/net'
  const errors = []
  process.on('warning', ({ code, message }) => errors.push(code ?? message))
  const server = createServer(${options}, (socket) => {
    socket.on('error', (error) => errors.push(error.code))
    socket.on('data', (bytes) => socket.write(bytes))
  })
  server.on('error', (error) => errors.push(error.code))
  const fds = []
  process.stdin.setEncoding('utf8').on('data', (text) => {
    for (const line of text.trim().split('\\n')) {
      if (line === 'fill') try { for (;;) fds.push(openSync('/dev/null')) } catch {}
      if (line === 'free') for (const fd of fds.splice(0)) closeSync(fd)
      console.log(JSON.stringify({ errors, ...server.stats() }))
    }
  })
  server.listen(0, '127.0.0.1', () => console.log(JSON.stringify(server.address().port)))`

interface Told {
  parked: number
  awake: number
  accepted: number
  woken: number
  errors: string[]
}

describe('no descriptor left', () => {
  function dial(port: number): Promise<Socket> {
    const peer = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    onTestFinished(() => void peer.destroy())
    return new Promise((resolve, reject) => {
      peer.once('connect', () => {
        peer.off('error', reject).on('error', () => {})
        resolve(peer)
      })
      peer.once('error', reject)
    })
  }

  async function echo(peer: Socket): Promise<void> {
    peer.write('hello')
    expect(`${await readExactly(peer, 5)}`).toBe('hello')
  }

  test('while accepting: no connection is lost, and waiting clients are accepted when there is room', async () => {
    const child = new Child(few(`{ idle: ${IDLE} }`), { shell: 'ulimit -n 128' })
    const port = await child.next<number>()
    const peers = await Promise.all(Array.from({ length: 200 }, () => dial(port)))
    // As many as it can accept.
    let before = -1
    await eventually(async () => {
      const last = before
      before = (await child.ask<Told>('stats')).accepted
      expect(before).toBe(last)
    })
    const { accepted, parked, awake, errors } = await child.ask<Told>('stats')
    expect(accepted).toBeGreaterThan(50)
    expect(accepted).toBeLessThan(128)
    expect(parked + awake).toBe(accepted)
    // It emits a warning.
    expect(errors).toContain('EMFILE')
    // Connections are accepted in order, so these are the first ones.
    for (const peer of peers.slice(0, accepted - 5)) await echo(peer)
    // All clients send something. Those in the backlog are answered later, and none is dropped.
    for (const peer of peers.slice(accepted)) peer.write('queued')
    for (const peer of peers.slice(0, accepted - 5)) {
      peer.destroy()
    }
    for (const peer of peers.slice(accepted, 128)) expect(`${await readExactly(peer, 6)}`).toBe('queued')
    for (const peer of peers.slice(accepted - 5, 128)) peer.destroy()
    for (const peer of peers.slice(128)) expect(`${await readExactly(peer, 6)}`).toBe('queued')
    const last = await child.ask<Told>('stats')
    expect(last.accepted).toBe(200)
    child.process.kill()
  })

  test('while parking: connections stay awake and are served, and are parked when there is room', async () => {
    const child = new Child(few("{ idle: '50ms' }"), { shell: 'ulimit -n 128' })
    const port = await child.next<number>()
    const peers = await Promise.all(Array.from({ length: 40 }, () => dial(port)))
    for (const peer of peers) await echo(peer)
    await child.ask('fill')
    // Each connection is idle for several times `idle`.
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 4; i++) await quiet()
      for (const peer of peers) await echo(peer)
    }
    const full = await child.ask<Told>('stats')
    expect(full.parked + full.awake).toBe(40)
    await child.ask('free')
    await eventually(async () =>
      expect(await child.ask<Told>('stats')).toMatchObject({ parked: 40, awake: 0, accepted: 40 })
    )
    for (const peer of peers) await echo(peer)
    child.process.kill()
  })

  test('while waking: a wake needs no descriptor', async () => {
    const child = new Child(few(`{ idle: ${IDLE} }`), { shell: 'ulimit -n 128' })
    const port = await child.next<number>()
    const peers = await Promise.all(Array.from({ length: 40 }, () => dial(port)))
    await eventually(async () => expect(await child.ask<Told>('stats')).toMatchObject({ parked: 40 }))
    await child.ask('fill')
    for (const peer of peers) peer.write('hello')
    for (const peer of peers) expect(`${await readExactly(peer, 5)}`).toBe('hello')
    for (const peer of peers.slice(0, 20)) peer.destroy()
    await child.ask('free')
    await eventually(async () => expect(await child.ask<Told>('stats')).toMatchObject({ parked: 20, awake: 0 }))
    child.process.kill()
  })

  test('a process that only waits for room uses no CPU', async () => {
    const child = new Child(few(`{ idle: ${IDLE} }`), { shell: 'ulimit -n 128' })
    const port = await child.next<number>()
    const peers = await Promise.all(Array.from({ length: 150 }, () => dial(port)))
    await child.ask('fill')
    for (const peer of peers.slice(0, 60)) await echo(peer)
    const { ticksOf } = await import('../support/processes.js')
    const before = ticksOf(child.process.pid as number)
    const started = performance.now()
    for (let i = 0; i < 20; i++) await quiet()
    const seconds = (performance.now() - started) / 1000
    // A clock tick is 10 ms. A busy loop would use all of them.
    expect((ticksOf(child.process.pid as number) - before) / 100).toBeLessThan(0.5 * seconds)
    child.process.kill()
  })
})

test('a thousand connections at once that are accepted, parked, woken and closed', async () => {
  const woken = new Map<number, number>()
  const server: Server & ParkServer = await listening(
    createServer({ idle: IDLE, firstByteTimeout: false }, (socket, { id, wakes }: Connection) => {
      woken.set(id, wakes)
      socket.on('data', (bytes) => socket.write(bytes))
    })
  )
  const peers = await clients(server, 1000)
  for (let round = 1; round <= 3; round++) {
    for (const peer of peers) peer.write('x')
    await Promise.all(peers.map((peer) => readExactly(peer, 1)))
    await stats(server, { parked: 1000, awake: 0, accepted: 1000, woken: 1000 * round })
  }
  expect([...woken.values()].every((wakes) => wakes === 3)).toBe(true)
  for (const peer of peers) peer.destroy()
  await stats(server, { parked: 0, awake: 0, accepted: 1000 })
  expectSum(server)
})

describe('a crowd of 5,000', () => {
  async function crowd(): Promise<{ server: ParkServer; peers: Socket[]; heard: () => number }> {
    let heard = 0
    const server = await listening(
      createServer({ idle: 50, firstByteTimeout: false }, (socket) => {
        socket.on('data', (bytes) => {
          heard += bytes.length
        })
      })
    )
    const peers: Socket[] = []
    for (let i = 0; i < 10; i++) peers.push(...(await clients(server, 500)))
    await stats(server, { parked: 5000, awake: 0 })
    return { server, peers, heard: () => heard }
  }

  test('each sends a byte a second: all are answered, and all are parked in between', async () => {
    const { server, peers, heard } = await crowd()
    const start = performance.now()
    for (let second = 0; second < 3; second++) {
      // Spread over the second, a part of the connections in each turn.
      for (let part = 0; part < 100; part++) {
        for (let i = part; i < peers.length; i += 100) peers[i]?.write('x')
        const due = start + 1000 * second + 10 * part
        await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
      }
    }
    await eventually(() => expect(heard()).toBe(15_000))
    await stats(server, { parked: 5000, awake: 0 })
    const { woken, parkedAgain } = server.stats()
    expect(parkedAgain).toBe(woken)
    expect(woken).toBeGreaterThan(5000)
    // A connection may be parked before its byte was read, and is woken again once, but not repeatedly.
    expect(woken).toBeLessThan(20_000)
    expectSum(server)
  })

  test('all are woken at once', async () => {
    const { server, peers, heard } = await crowd()
    for (let round = 1; round <= 2; round++) {
      for (const peer of peers) peer.write('x')
      await eventually(() => expect(heard()).toBe(5000 * round))
      await stats(server, { parked: 5000, awake: 0, woken: 5000 * round })
    }
    for (const peer of peers) peer.destroy()
    await stats(server, { parked: 0, awake: 0, accepted: 5000 })
    expectSum(server)
  })
})
