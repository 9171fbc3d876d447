import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { EPOLLIN } from '../sys/constants.js'
import { reactor } from '../sys/reactor.js'
import { SocketAddress } from '../sys/sockaddr.js'
import { closeDescriptor, createSocket, startConnect } from '../sys/socket.js'
import { type AcceptHost, Acceptor } from './acceptor.js'
import { openSocket } from './listening-socket.js'

const path = `\0ebb acceptor ${process.pid}`
const target = new SocketAddress({ path })
const opened: number[] = []
let dropped = 0
let acceptor: Acceptor
let listening = -1

/** Drops every connection, as a server does at `maxConnections`, or for a blocked peer. */
const host: AcceptHost = {
  clients: 0,
  onAccept(fd) {
    dropped++
    reactor().discard(fd)
    return 0
  },
  onPause: (error) => expect.unreachable(error.message),
  onFailure: (error) => expect.unreachable(error.message)
}

/** Puts connections into the backlog. The event loop does not run, so only the test calls the acceptor. */
function connect(n: number): void {
  for (let i = 0; i < n; i++) {
    const fd = createSocket(target.family)
    expect(startConnect(fd, target)).toBe(0)
    opened.push(fd)
  }
}

beforeEach(() => {
  // The clock stands still except where a test advances it, so any two events are a storm.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  vi.advanceTimersByTime(1000)
  dropped = 0
  const socket = openSocket({ path })
  listening = socket.fd
  acceptor = new Acceptor(reactor(), socket, host)
})
afterEach(() => {
  acceptor.close()
  for (const fd of opened.splice(0)) closeDescriptor(fd)
  vi.useRealTimers()
  vi.restoreAllMocks()
})

test('a storm of connections that are dropped is polled, and watched again when it is over', () => {
  const modify = vi.spyOn(reactor(), 'modify')
  acceptor.ready()
  acceptor.ready()
  expect(modify.mock.calls).toEqual([[listening, 0]])
  for (const storm of [10, 20, 4]) {
    connect(storm)
    vi.advanceTimersByTime(1)
    expect(dropped).toBe(storm)
    dropped = 0
  }
  expect(modify.mock.calls).toEqual([[listening, 0]])
  connect(3)
  vi.advanceTimersByTime(1)
  expect(dropped).toBe(3)
  expect(modify.mock.calls).toEqual([
    [listening, 0],
    [listening, EPOLLIN]
  ])
  vi.advanceTimersByTime(1000)
  expect(modify.mock.calls).toHaveLength(2)
})

test('a full burst of connections that are dropped stays watched, because more wait', () => {
  const modify = vi.spyOn(reactor(), 'modify')
  acceptor.ready()
  connect(300)
  acceptor.ready()
  expect(dropped).toBe(256)
  expect(modify).not.toHaveBeenCalled()
  acceptor.ready()
  expect(dropped).toBe(300)
  expect(modify.mock.calls).toEqual([[listening, 0]])
})

test('a poll that accepts a full burst ends polling, because more wait', () => {
  const modify = vi.spyOn(reactor(), 'modify')
  acceptor.ready()
  acceptor.ready()
  connect(300)
  vi.advanceTimersByTime(1)
  expect(dropped).toBe(256)
  expect(modify.mock.calls).toEqual([
    [listening, 0],
    [listening, EPOLLIN]
  ])
})

test('a closed acceptor neither accepts nor polls, and its owner number is free again', () => {
  const modify = vi.spyOn(reactor(), 'modify')
  acceptor.ready()
  acceptor.ready()
  connect(5)
  const owner = reactor().register({ ready: () => {} })
  reactor().unregister(owner)
  acceptor.close()
  expect(reactor().register({ ready: () => {} })).toBeLessThan(owner)
  vi.advanceTimersByTime(1000)
  acceptor.ready()
  acceptor.resume()
  expect(dropped).toBe(0)
  expect(modify.mock.calls).toEqual([[listening, 0]])
})
