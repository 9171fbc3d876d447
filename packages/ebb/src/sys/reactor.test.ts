import { closeSync, openSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { client, descriptors, quiet, uncaught, until } from '../../../../test/support/sockets.js'
import * as libc from './libc.js'
import { Reactor, reactor, trimReactor, type Watcher } from './reactor.js'
import { SocketAddress } from './sockaddr.js'

const type = libc.SOCK_STREAM | libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC
const byte = Buffer.from('x')
const room = Buffer.alloc(64)
const name = new SocketAddress({ path: `\0ebb reactor ${process.pid}` })
let meeting = -1
const opened = new Set<number>()

/** Two connected sockets. */
function pair(): [number, number] {
  const ours = libc.check(libc.socket(libc.AF_UNIX, type, 0), 'socket')
  libc.check(libc.connect(ours, name.pointer, name.length), 'connect')
  const theirs = libc.check(libc.accept4(meeting, 0, 0, libc.SOCK_NONBLOCK | libc.SOCK_CLOEXEC), 'accept4')
  opened.add(ours).add(theirs)
  return [ours, theirs]
}

function send(fd: number): void {
  expect(libc.sendBuffer(fd, byte, 1, libc.MSG_NOSIGNAL)).toBe(1)
}

function receive(fd: number): number {
  return libc.recv(fd, libc.addressOf(room), room.length, 0)
}

/** Waits some turns of the event loop, enough for all sent bytes to arrive. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

beforeEach(() => {
  meeting = libc.check(libc.socket(libc.AF_UNIX, type, 0), 'socket')
  libc.check(libc.bindAddress(meeting, name.pointer, name.length), 'bind')
  libc.check(libc.listenOn(meeting, 16), 'listen')
})
afterEach(() => {
  for (const fd of opened) libc.close(fd)
  opened.clear()
  libc.close(meeting)
})

/** Registers a watcher at the thread's reactor. */
function watch(ready: (fd: number, events: number) => void): { owner: number; reactor: Reactor } {
  const watcher: Watcher = { ready }
  return { owner: reactor().register(watcher), reactor: reactor() }
}

function close(from: Reactor, ...fds: number[]): void {
  for (const fd of fds) {
    from.close(fd)
    opened.delete(fd)
  }
}

function watchedBy({ reactor, owner }: { owner: number; reactor: Reactor }): number[] {
  const fds: number[] = []
  for (let fd = reactor.next(owner, -1); fd !== -1; fd = reactor.next(owner, fd)) fds.push(fd)
  return fds
}

describe('a duplicate in another process', () => {
  test('is not reported after close(), although it lives on', async () => {
    let times = 0
    const { reactor, owner } = watch(() => times++)
    const [a] = pair()
    const duplicate = libc.fcntl(a, libc.F_DUPFD_CLOEXEC, 0)
    opened.add(duplicate)
    expect(reactor.add(a, libc.EPOLLIN, owner)).toBe(0)
    reactor.hasDuplicates = true
    close(reactor, a)
    expect(reactor.audit()).toEqual([])
    // Closing it has shut it down, which epoll would report.
    await turns()
    expect(times).toBe(0)
    reactor.hasDuplicates = false
    reactor.unregister(owner)
  })
})

describe('events', () => {
  test('are reported again until they are handled', async () => {
    let times = 0
    const { reactor, owner } = watch((fd) => {
      if (++times === 3) receive(fd)
    })
    const [a, b] = pair()
    expect(reactor.add(a, libc.EPOLLIN, owner)).toBe(0)
    send(b)
    await turns()
    expect(times).toBe(3)
    close(reactor, a)
    reactor.unregister(owner)
  })

  test('report what happened, and only what was asked for', async () => {
    const seen: number[] = []
    const { reactor, owner } = watch((fd, events) => {
      seen.push(events)
      reactor.modify(fd, 0)
    })
    const [a, b] = pair()
    reactor.add(a, 0, owner)
    send(b)
    await turns()
    expect(seen).toEqual([])
    reactor.modify(a, libc.EPOLLIN)
    await turns()
    expect(seen).toEqual([libc.EPOLLIN])
    reactor.modify(a, libc.EPOLLOUT)
    await turns()
    expect(seen).toEqual([libc.EPOLLIN, libc.EPOLLOUT])
    close(reactor, a)
    reactor.unregister(owner)
  })

  test('are followed by ticks and promises, like any callback of Node', async () => {
    const order: string[] = []
    const { reactor, owner } = watch((fd) => {
      receive(fd)
      order.push('event')
      process.nextTick(() => order.push('tick'))
      void Promise.resolve().then(() => order.push('promise'))
      setImmediate(() => order.push('immediate'))
    })
    const [a, b] = pair()
    reactor.add(a, libc.EPOLLIN, owner)
    send(b)
    await until(() => order.includes('immediate'))
    expect(order).toEqual(['event', 'tick', 'promise', 'immediate'])
    close(reactor, a)
    reactor.unregister(owner)
  })

  test('are followed by ticks and promises in a process where nothing else happens', async () => {
    const child = new Child(`
      import { listen } from 'ebb'
      const { address } = listen({ port: 0 }, {
        async open() {
          await undefined
          console.log('"promise"')
          process.nextTick(() => console.log('"tick"'))
        }
      })
      console.log(JSON.stringify(address))`)
    await client(await child.next())
    expect(await child.next()).toBe('promise')
    expect(await child.next()).toBe('tick')
  })

  test('of a closed descriptor do not reach the connection that has its number now', async () => {
    const seen: string[] = []
    const [a, aPeer] = pair()
    const [b, bPeer] = pair()
    let reused = -1
    let reusedPeer = -1
    const young = watch((fd) => {
      receive(fd)
      seen.push('young')
    })
    // The first event closes the other descriptor, whose event is in the same batch.
    const old = watch((fd) => {
      receive(fd)
      seen.push('old')
      const other = fd === a ? b : a
      close(old.reactor, other)
      while (reused !== other) {
        const [one, two] = pair()
        if (one === other) [reused, reusedPeer] = [one, two]
        else if (two === other) [reused, reusedPeer] = [two, one]
      }
      expect(young.reactor.add(reused, libc.EPOLLIN, young.owner)).toBe(0)
    })
    old.reactor.add(a, libc.EPOLLIN, old.owner)
    old.reactor.add(b, libc.EPOLLIN, old.owner)
    send(aPeer)
    send(bPeer)
    await turns()
    expect(seen).toEqual(['old'])
    send(reusedPeer)
    await turns()
    expect(seen).toEqual(['old', 'young'])
    close(old.reactor, reused, reused === a ? b : a)
    old.reactor.unregister(old.owner)
    young.reactor.unregister(young.owner)
  })

  test('of a closed descriptor are dropped', async () => {
    const seen: number[] = []
    const pairs = Array.from({ length: 50 }, pair)
    const { reactor, owner } = watch((fd) => {
      seen.push(fd)
      close(reactor, ...pairs.map(([ours]) => ours))
      reactor.unregister(owner)
    })
    for (const [ours, theirs] of pairs) {
      reactor.add(ours, libc.EPOLLIN, owner)
      send(theirs)
    }
    await turns()
    expect(seen).toHaveLength(1)
  })

  test('an error of a watcher is uncaught, and the other watchers are called', async () => {
    const told = new Set<number>()
    const pairs = Array.from({ length: 20 }, pair)
    const { reactor, owner } = watch((fd) => {
      receive(fd)
      told.add(fd)
      throw new Error(`${fd}`)
    })
    for (const [ours, theirs] of pairs) {
      reactor.add(ours, libc.EPOLLIN, owner)
      send(theirs)
    }
    const errors = await uncaught(() => until(() => told.size === pairs.length))
    expect(errors.map((error) => (error as Error).message)).toEqual([...told].map(String))
    close(reactor, ...pairs.map(([ours]) => ours))
    reactor.unregister(owner)
  })
})

describe('registrations', () => {
  test('have serial numbers that are never reused', () => {
    const { reactor, owner } = watch(() => {})
    const [a] = pair()
    const serials = new Set<number>()
    for (let i = 0; i < 100; i++) {
      reactor.add(a, 0, owner)
      serials.add(reactor.serial[a] as number)
      reactor.remove(a)
      expect(reactor.serial[a]).toBe(0)
    }
    expect(serials.size).toBe(100)
    reactor.unregister(owner)
  })

  test('begin with state 0, whatever the previous registration left', () => {
    const { reactor, owner } = watch(() => {})
    const [a] = pair()
    reactor.add(a, 0, owner)
    reactor.state[a] = 255
    reactor.remove(a)
    reactor.add(a, 0, owner)
    expect(reactor.state[a]).toBe(0)
    close(reactor, a)
    reactor.unregister(owner)
  })

  test('a descriptor that cannot be watched gives an errno and leaves no registration', () => {
    const { reactor, owner } = watch(() => {})
    const before = reactor.watched
    const file = openSync('/proc/self/status', 'r')
    expect(reactor.add(file, libc.EPOLLIN, owner)).toBe(libc.E.EPERM)
    expect(reactor.add(1_000_000, libc.EPOLLIN, owner)).toBe(libc.E.EBADF)
    const [a] = pair()
    expect(reactor.add(a, 0, owner)).toBe(0)
    const serial = reactor.serial[a]
    expect(reactor.add(a, 0, owner)).toBe(libc.E.EEXIST)
    expect(reactor.serial[a]).toBe(serial)
    expect(reactor.watched).toBe(before + 1)
    close(reactor, a)
    closeSync(file)
    reactor.unregister(owner)
    trimReactor()
  })

  test('remove leaves the descriptor open', () => {
    const { reactor, owner } = watch(() => {})
    const [a, b] = pair()
    reactor.add(a, libc.EPOLLIN, owner)
    reactor.remove(a)
    send(a)
    expect(receive(b)).toBe(1)
    reactor.unregister(owner)
  })

  test('next finds the descriptors of one watcher, whatever is closed meanwhile', () => {
    const mine = watch(() => {})
    const others = watch(() => {})
    const pairs = Array.from({ length: 10 }, pair)
    for (const [a, b] of pairs) {
      mine.reactor.add(a, 0, mine.owner)
      others.reactor.add(b, 0, others.owner)
    }
    const all = pairs.map(([a]) => a)
    expect(watchedBy(mine)).toEqual(all)
    const visited: number[] = []
    for (let fd = mine.reactor.next(mine.owner, -1); fd !== -1; fd = mine.reactor.next(mine.owner, fd)) {
      visited.push(fd)
      // Closes itself, and one that would come later in the walk.
      close(mine.reactor, fd)
      const later = watchedBy(mine).at(-1)
      if (later !== undefined) close(mine.reactor, later)
    }
    expect(visited).toEqual(all.slice(0, 5))
    expect(watchedBy(mine)).toEqual([])
    expect(watchedBy(others)).toEqual(pairs.map(([, b]) => b))
    close(others.reactor, ...watchedBy(others))
    mine.reactor.unregister(mine.owner)
    others.reactor.unregister(others.owner)
  })

  test('by the thousand: the arrays grow, and shrink afterwards', async () => {
    const { reactor, owner } = watch((fd) => {
      receive(fd)
      told.add(fd)
    })
    const told = new Set<number>()
    const before = reactor.watched
    const smallest = reactor.serial.length
    const pairs = Array.from({ length: 2500 }, pair)
    for (const [a] of pairs) expect(reactor.add(a, libc.EPOLLIN, owner)).toBe(0)
    expect(reactor.watched).toBe(before + pairs.length)
    expect(reactor.serial.length).toBeGreaterThan(Math.max(...pairs.map(([a]) => a)))
    const serials = pairs.map(([a]) => reactor.serial[a])
    trimReactor()
    expect(pairs.map(([a]) => reactor.serial[a])).toEqual(serials)
    for (const [, b] of pairs) send(b)
    await until(() => told.size === pairs.length)
    const grown = reactor.serial.length
    // One descriptor in the middle keeps the arrays at the length that it needs.
    const [kept] = pairs[1200] as [number, number]
    close(reactor, ...pairs.map(([a]) => a).filter((fd) => fd !== kept))
    trimReactor()
    expect(reactor.serial.length).toBeLessThan(grown)
    expect(reactor.serial.length).toBeGreaterThan(kept)
    send((pairs[1200] as [number, number])[1])
    told.clear()
    await until(() => told.has(kept))
    close(reactor, kept)
    trimReactor()
    expect(reactor.serial.length).toBe(smallest)
    expect(reactor.state.length).toBe(smallest)
    expect(reactor.watched).toBe(before)
    reactor.unregister(owner)
  })

  test('a trim within an event leaves the rest of the batch in order', async () => {
    const pairs = Array.from({ length: 1500 }, pair)
    const told = new Set<number>()
    const { reactor, owner } = watch((fd) => {
      receive(fd)
      told.add(fd)
      // All above the first thousand are closed, although their events are in this batch.
      if (told.size === 1) {
        for (const [a] of pairs) if (a >= 1024 && a !== fd) close(reactor, a)
        trimReactor()
      }
    })
    for (const [a] of pairs) reactor.add(a, libc.EPOLLIN, owner)
    for (const [, b] of pairs) send(b)
    const staying = pairs.map(([a]) => a).filter((fd) => fd < 1024)
    await until(() => staying.every((fd) => told.has(fd)))
    await turns()
    expect(told.size).toBeLessThanOrEqual(staying.length + 1)
    close(reactor, ...watchedBy({ reactor, owner }))
    reactor.unregister(owner)
  })
})

test('two reactors are independent', async () => {
  const before = descriptors()
  const [one, two] = [new Reactor(), new Reactor()]
  const seen: string[] = []
  const owners = [one, two].map((reactor, i) =>
    reactor.register({
      ready: (fd) => {
        receive(fd)
        seen.push(`${i}: ${fd}`)
      }
    })
  ) as [number, number]
  const [a, b] = pair()
  one.add(a, libc.EPOLLIN, owners[0])
  two.add(b, libc.EPOLLIN, owners[1])
  expect([one.watched, two.watched]).toEqual([1, 1])
  expect([one.serial[b], two.serial[a]]).toEqual([0, 0])
  send(a)
  send(b)
  one.ref()
  await until(() => seen.length === 2)
  expect(seen.sort()).toEqual([`0: ${a}`, `1: ${b}`])
  one.unref()
  close(one, a)
  close(two, b)
  await quiet()
  // One epoll descriptor for each, and nothing else.
  expect(descriptors()).toBe(before + 2)
})

describe('keeping the process running', () => {
  const source = (body: string): string => `
    import { reactor } from 'ebb/sys'
    import { listen } from 'ebb'
    process.on('exit', () => console.log('"exit"'))
    ${body}`

  test('a reactor alone does not', async () => {
    const child = new Child(source('reactor()'))
    expect(await child.next()).toBe('exit')
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test('ref() does, until unref() was called as often', async () => {
    const child = new Child(
      source(`
        const r = reactor()
        r.ref(); r.ref(); r.unref()
        setTimeout(() => { console.log('"held"'); r.unref() }, 300).unref()`)
    )
    expect(await child.next()).toBe('held')
    expect(await child.next()).toBe('exit')
  })

  test('a listener does, until it is closed', async () => {
    const child = new Child(
      source(`
        const listener = listen({ port: 0 })
        setTimeout(async () => { await listener.close(); console.log('"closed"') }, 300).unref()`)
    )
    expect(await child.next()).toBe('closed')
    expect(await child.next()).toBe('exit')
  })

  test('a closed listener does, as long as it has a connection', async () => {
    const child = new Child(
      source(`
        import net from 'node:net'
        const listener = listen({ port: 0 }, { open() { void listener.close(); setTimeout(end, 300).unref() } })
        const socket = net.connect(listener.address.port, '127.0.0.1').unref()
        function end() { console.log('"held"'); listener.closeConnections() }`)
    )
    expect(await child.next()).toBe('held')
    expect(await child.next()).toBe('exit')
  })

  test('a listener does not after unref(), and does again after ref()', async () => {
    const child = new Child(source(`listen({ port: 0 }).unref().unref()`))
    expect(await child.next()).toBe('exit')
    const other = new Child(
      source(`
        const listener = listen({ port: 0 }).unref().ref().ref()
        setTimeout(() => { console.log('"held"'); listener.unref() }, 300).unref()`)
    )
    expect(await other.next()).toBe('held')
    expect(await other.next()).toBe('exit')
  })

  test('unref() of one listener does not unref another', async () => {
    const child = new Child(
      source(`
        const one = listen({ port: 0 }).unref()
        const two = listen({ port: 0 })
        await one.close()
        one.unref(); one.ref(); one.unref()
        setTimeout(() => { console.log('"held"'); two.close() }, 300).unref()`)
    )
    expect(await child.next()).toBe('held')
    expect(await child.next()).toBe('exit')
  })
})

test('memory that C uses survives any number of collections', async () => {
  const child = new Child(
    `
    import net from 'node:net'
    import { listen } from 'ebb'
    const listener = listen({ port: 0 }, { data(connection, bytes) { gc(); connection.write(bytes) } })
    const socket = net.connect(listener.address.port, '127.0.0.1')
    const collecting = setInterval(gc, 1)
    let wrong = 0
    for (let i = 0; i < 60; i++) {
      const sent = String(i).repeat(100)
      socket.write(sent)
      let got = ''
      for await (const [chunk] of (await import('node:events')).on(socket, 'data')) {
        got += chunk
        if (got.length >= sent.length) break
      }
      if (got !== sent) wrong++
      // Allocations that would reuse memory that was freed by mistake.
      Array.from({ length: 20 }, () => new Int32Array(1536).fill(-1))
    }
    clearInterval(collecting)
    socket.destroy()
    console.log(JSON.stringify({ wrong }))
    await listener.close()
    console.log('"closed"')`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toEqual({ wrong: 0 })
  expect(await child.next()).toBe('closed')
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('a descriptor that nobody owns reports nothing until it is assigned', async () => {
  const events: number[] = []
  const { owner, reactor } = watch((fd) => {
    events.push(fd)
    receive(fd)
  })
  const [ours, theirs] = pair()
  expect(reactor.addUnowned(theirs, libc.EPOLLIN)).toBe(0)
  expect([reactor.isUnowned(theirs), reactor.isUnowned(ours)]).toEqual([true, false])
  send(ours)
  await turns()
  expect(events).toEqual([])
  reactor.assign(theirs, owner)
  expect(reactor.isUnowned(theirs)).toBe(false)
  await turns()
  expect(events).toEqual([theirs])
  close(reactor, theirs)
  reactor.unregister(owner)
})

test('retired descriptors are closed, watched or not, and a duplicate stays open', async () => {
  const events: number[] = []
  const { owner, reactor } = watch((fd) => void events.push(fd))
  const before = { watched: reactor.watched, open: descriptors() }
  const pairs = Array.from({ length: 1200 }, pair)
  const copies = pairs.map(([, theirs]) => libc.fcntl(theirs, libc.F_DUPFD_CLOEXEC, 0))
  for (const [i, [, theirs]] of pairs.entries()) if (i % 2 === 0) reactor.add(theirs, libc.EPOLLIN, owner)
  for (const [, theirs] of pairs) reactor.retire(theirs)
  for (const [ours] of pairs) send(ours)
  await turns()
  expect(events).toEqual([])
  expect(reactor.watched).toBe(before.watched)
  expect(descriptors()).toBe(before.open + 2 * pairs.length)
  for (const [i, [ours, theirs]] of pairs.entries()) {
    opened.delete(theirs)
    expect(receive(copies[i] as number)).toBe(1)
    // No FIN has come.
    expect(receive(ours)).toBe(-1)
    expect(libc.errno()).toBe(libc.E.EAGAIN)
    libc.close(copies[i] as number)
  }
  reactor.unregister(owner)
})
