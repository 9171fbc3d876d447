/** What a listener refuses of another process. */
import fs from 'node:fs'
import { join } from 'node:path'
import v8 from 'node:v8'
import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
import { client, clients, directory, until } from '../../../../test/support/sockets.js'
import type { MovedConnection } from '../socket/moved.js'
import { createListener, startListening } from './listen.js'
import type { EpollListener } from './listener.js'
import { MOVABLE } from './moving.js'
import { BLOCKED, ENDED, HALF_CLOSED, HEADER, PAUSED } from './states.js'
import { serve } from './testing/serve.js'

function started(): EpollListener {
  const listener = createListener({}, { giveBack: false }) as EpollListener
  startListening(listener, { port: 0 })
  onTestFinished(() => listener.close())
  return listener
}

/** A connection whose descriptor is none of a socket: epoll refuses it, if nothing did before. */
function moved(id: number, flags: number, attachment?: string): MovedConnection {
  const fd = fs.openSync('/dev/null', 'r')
  return {
    fd,
    id,
    flags,
    wakes: 0,
    requests: 0,
    left: 0,
    duration: 0,
    attachment,
    state: undefined,
    proxied: undefined
  }
}

const packed = (value: unknown): string => v8.serialize(value).toString('latin1')
const isOpen = (fd: number): boolean => {
  try {
    fs.fstatSync(fd)
    return true
  } catch {
    return false
  }
}

/** Adopts a connection before a second one, and checks that nothing of either is left. */
function refusal(flags: number, attachment?: string): unknown {
  const listener = started()
  const connections = [moved(1, flags, attachment), moved(2, 0)]
  listener.moving.reserve([1, 2], 10)
  let refused: unknown
  try {
    listener.moving.adopt(connections)
  } catch (error) {
    refused = error
  }
  expect(connections.map(({ fd }) => isOpen(fd))).toEqual([false, false])
  expect([listener.clients, listener.accepted]).toEqual([0, 0])
  expect([listener.moving.isReserved(1), listener.moving.isReserved(2)]).toEqual([true, true])
  expect(listener.audit()).toEqual([])
  return refused
}

const invalid = expect.objectContaining({ code: 'ERR_EBB_HANDOVER' })

test.each([
  ['a queue that is not there', BLOCKED, undefined],
  ['an empty queue', BLOCKED, packed([undefined, Buffer.alloc(0)])],
  ['a queue of another type', BLOCKED, packed([undefined, 'bytes'])],
  ['an attachment of another type', BLOCKED, packed([1, Buffer.from('x')])],
  ['an attachment that is not serialised', BLOCKED, packed(['text', Buffer.from('x')])],
  ['something that is no pair', BLOCKED, packed({ length: 2 })],
  ['garbage', BLOCKED, 'garbage'],
  ['a pause without a queue', PAUSED, undefined],
  ['the end of the peer without a queue', HALF_CLOSED, undefined],
  ['a header after the end', HEADER | ENDED, undefined],
  ['a queue before the header', HEADER | BLOCKED, packed([undefined, Buffer.from('x')])],
  ['a queue after the FIN', ENDED | BLOCKED, packed([undefined, Buffer.from('x')])]
])('%s is refused', (_, flags, attachment) => {
  expect(refusal(flags, attachment)).toEqual(invalid)
})

test('a descriptor that epoll does not take is closed, and the others with it', () => {
  expect(refusal(0)).toEqual(expect.objectContaining({ code: 'EPERM', syscall: 'epoll_ctl' }))
  expect(refusal(BLOCKED, packed([packed({ a: 1 }), Buffer.from('x')]))).toEqual(
    expect.objectContaining({ code: 'EPERM' })
  )
})

test('whatever another process sends, nothing of it is left', () => {
  const anything = fc.oneof(
    fc.constant(undefined),
    fc.string(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('latin1')),
    fc.anything({ withTypedArray: true }).map((value) => packed([value, Buffer.from('x')])),
    fc.tuple(fc.constant(undefined), fc.uint8Array()).map(packed)
  )
  fc.assert(
    fc.property(fc.nat(MOVABLE), anything, (flags, attachment) => {
      expect(refusal(flags & MOVABLE, attachment)).toBeInstanceOf(Error)
    })
  )
})

test('ids are valid, come once, and are not given again', () => {
  const { moving, reactor } = started()
  expect(moving.reserve([5, 7], 6)).toBe(false)
  expect(moving.reserve([1, 1], 6)).toBe(false)
  expect(moving.reserve([], 2 ** 52 + 1)).toBe(false)
  const before = reactor.lastSerial
  expect(moving.reserve([2, 3], before + 1000)).toBe(true)
  expect(reactor.lastSerial).toBe(before + 1000)
  expect(moving.reserve([4], 10)).toBe(true)
  expect(reactor.lastSerial).toBe(before + 1000)
})

test('a queue is at rest when the peer has taken nothing for a while, which is shorter at the end of the grace', async () => {
  const bytes = Buffer.alloc(8_000_000)
  const listener = serve({ open: (connection) => void connection.write(bytes) }) as EpollListener
  const socket = await client(listener.address)
  await until(() => listener.queues.size === 1)
  const { moving } = listener
  const [fd] = [...listener.queues.keys()]
  const staying = (broadcasts: boolean): number[] => [...moving.stayingIds(broadcasts, moving.rows())]
  const id = moving.idOf(fd as number)
  expect([moving.rows(), staying(true), staying(false)]).toEqual([[], [id], []])
  moving.setPatience(0)
  expect([moving.rows(), staying(true), staying(false)]).toEqual([[fd], [], []])
  moving.setPatience(1)
  const now = vi.spyOn(performance, 'now')
  onTestFinished(() => now.mockRestore())
  const later = performance.now() + 1000
  now.mockReturnValue(later)
  expect(moving.rows()).toEqual([fd])
  // What has just come from another process may wait as long as anything else.
  now.mockRestore()
  socket.resume()
  await until(() => listener.queues.size === 0)
  expect(moving.rows()).toEqual([fd])
})

test('queues move one after the other if they are large together, and not at all if one is larger than that', async () => {
  // Of a Unix socket, the kernel takes little.
  const listener = serve({}, { path: join(directory(), 'socket') }) as EpollListener
  const sockets = await clients(listener.address, 3)
  await until(() => listener.clients === 3)
  const { moving } = listener
  const [small, other, large] = moving.rows() as [number, number, number]
  for (const fd of [small, other]) listener.write(fd, Buffer.alloc(10_000_000))
  listener.write(large, Buffer.alloc(20_000_000))
  moving.setPatience(0)
  expect(moving.rows()).toEqual([small])
  listener.destroy(small)
  expect(moving.rows()).toEqual([other])
  listener.destroy(other)
  expect(moving.rows()).toEqual([])
  for (const socket of sockets) socket.destroy()
})
