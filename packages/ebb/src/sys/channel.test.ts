import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Child, FEW_DESCRIPTORS } from '../../../../test/support/child.js'
import {
  acceptChannel,
  type Channel,
  channelPair,
  connectChannel,
  LONGEST_CHANNEL_PATH,
  listenForChannels,
  MOST_BYTES,
  MOST_DESCRIPTORS
} from './channel.js'
import * as libc from './libc.js'

const soon = (): number => performance.now() + 5000
const byte = Buffer.from('x')
let folder: string
let before: number

function openCount(): number {
  return fs.readdirSync('/proc/self/fd').length
}

beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'ebb-channel-'))
  const [a, b] = channelPair()
  a.trySend(byte)
  b.tryReceive()
  a.close()
  b.close()
  before = openCount()
})
afterEach(() => {
  fs.rmSync(folder, { recursive: true })
  expect(openCount()).toBe(before)
})

function pair(): [Channel, Channel] {
  return channelPair()
}

function close(...channels: Channel[]): void {
  for (const channel of channels) channel.close()
}

/** Receives what is expected to be a message. */
function message(channel: Channel): { bytes: Buffer; descriptors: number[] } {
  const received = channel.tryReceive()
  if (received === undefined || received === 'end') throw new Error(`no message, but ${received}`)
  return received
}

describe('messages', () => {
  test('arrive whole, in order, each with its own descriptors', () => {
    const [a, b] = pair()
    const fds = Array.from({ length: MOST_DESCRIPTORS }, () => fs.openSync('/dev/null', 'r'))
    const large = Buffer.alloc(MOST_BYTES, 'large')
    expect(a.trySend(large, fds)).toBe(0)
    expect(a.trySend(byte)).toBe(0)
    expect(a.trySend(byte, fds.slice(0, 1))).toBe(0)
    const first = message(b)
    expect(first.bytes.equals(large)).toBe(true)
    expect(first.descriptors).toHaveLength(MOST_DESCRIPTORS)
    expect(new Set([...fds, ...first.descriptors]).size).toBe(2 * MOST_DESCRIPTORS)
    const inode = fs.fstatSync(fds[0] as number).ino
    for (const fd of first.descriptors) expect(fs.fstatSync(fd).ino).toBe(inode)
    expect(message(b)).toEqual({ bytes: byte, descriptors: [] })
    const third = message(b)
    expect(third.descriptors).toHaveLength(1)
    expect(b.tryReceive()).toBeUndefined()
    for (const fd of [...fds, ...first.descriptors, ...third.descriptors]) fs.closeSync(fd)
    close(a, b)
  })

  test('descriptors are close-on-exec', () => {
    const [a, b] = pair()
    a.trySend(byte, [0])
    const [fd = -1] = message(b).descriptors
    expect(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toMatch(/flags:\s+02\d{6}/)
    fs.closeSync(fd)
    close(a, b)
  })

  test('more descriptors than a message holds are refused, and none is sent', () => {
    const [a, b] = pair()
    expect(() => a.trySend(byte, new Array(MOST_DESCRIPTORS + 20).fill(0))).toThrow(RangeError)
    expect(() => a.trySend(Buffer.alloc(MOST_BYTES + 1))).toThrow(RangeError)
    expect(a.trySend(byte, new Array(MOST_DESCRIPTORS + 1).fill(0))).toBe(libc.E.EINVAL)
    expect(a.trySend(byte, [99_999])).toBe(libc.E.EBADF)
    expect(b.tryReceive()).toBeUndefined()
    close(a, b)
  })

  test('a peer that does not read is EAGAIN, and ETIMEDOUT after the deadline', () => {
    const [a, b] = pair()
    const large = Buffer.alloc(MOST_BYTES)
    let sent = 0
    while (a.trySend(large) === 0) sent++
    expect(sent).toBeGreaterThan(0)
    expect(a.trySend(large)).toBe(libc.E.EAGAIN)
    expect(() => a.send(large, [], performance.now() + 5)).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }))
    message(b)
    a.send(large, [], soon())
    for (let i = 0; i < sent; i++) message(b)
    expect(() => b.receive(performance.now() + 5)).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }))
    close(a, b)
  })
})

describe('the end', () => {
  test('comes after the last message', () => {
    const [a, b] = pair()
    a.trySend(byte)
    a.close()
    expect(message(b).bytes).toEqual(byte)
    expect(b.tryReceive()).toBe('end')
    expect(b.reset).toBe(false)
    expect(b.trySend(byte)).toBe(libc.E.EPIPE)
    b.close()
  })

  test('of a peer that has not read everything comes after its last message, too', () => {
    const [a, b] = pair()
    b.trySend(byte)
    a.trySend(byte)
    a.close()
    expect(message(b).bytes).toEqual(byte)
    expect(b.reset).toBe(true)
    expect(b.tryReceive()).toBe('end')
    b.close()
  })

  test('refuseMore() lets the peer fail, and keeps what it had sent', () => {
    const [a, b] = pair()
    a.trySend(byte)
    b.refuseMore()
    expect(a.trySend(byte)).toBe(libc.E.EPIPE)
    expect(message(b).bytes).toEqual(byte)
    expect(b.tryReceive()).toBe('end')
    expect(b.trySend(byte)).toBe(0)
    expect(message(a).bytes).toEqual(byte)
    close(a, b)
  })

  test('descriptors that nobody has received are closed with the receiver', () => {
    const [a, b] = pair()
    const [c, d] = pair()
    a.trySend(byte, [d.fd])
    d.close()
    expect(c.tryReceive()).toBeUndefined()
    close(a, b)
    expect(c.tryReceive()).toBe('end')
    c.close()
  })
})

describe('a process that can have no more descriptors', () => {
  test('gets EMFILE, closes what did arrive, and receives the next message', async () => {
    const path = join(folder, 'socket')
    const listening = listenForChannels(path)
    const child = new Child(LIMITED(path), { shell: FEW_DESCRIPTORS })
    await child.next()
    const channel = acceptChannel(listening) as Channel
    expect(channel.trySend(byte, new Array(100).fill(listening))).toBe(0)
    expect(channel.trySend(byte, [listening])).toBe(0)
    expect(await child.next()).toEqual({ code: 'EMFILE', more: 0, received: 1 })
    await child.ended
    channel.close()
    fs.closeSync(listening)
  })
})

/** Has room for 50 descriptors. */
const LIMITED = (path: string): string => `
  import fs from 'node:fs'
  import { connectChannel } from 'ebb/sys'
  const channel = connectChannel(${JSON.stringify(path)})
  const count = () => fs.readdirSync('/proc/self/fd').length
  console.log('{}')
  while (count() < 78) fs.openSync('/dev/null')
  const before = count()
  const receive = () => {
    try { return channel.receive(performance.now() + 5000) } catch ({ code }) { return { code } }
  }
  const { code } = receive()
  const more = count() - before
  console.log(JSON.stringify({ code, more, received: receive().descriptors.length }))
`

/** Connects as another user. */
const AS_NOBODY = (path: string): string => `
  import { connectChannel } from 'ebb/sys'
  process.setegid(65534)
  process.seteuid(65534)
  try { connectChannel(${JSON.stringify(path)}) } catch ({ code }) { console.log(JSON.stringify({ code })) }
`

describe('listening', () => {
  test('a socket for this user only, which a later one replaces in one step', () => {
    const path = join(folder, 'socket')
    const first = listenForChannels(path)
    expect(fs.statSync(path).mode & 0o777).toBe(0o600)
    const a = connectChannel(path)
    const second = listenForChannels(path)
    expect(fs.readdirSync(folder)).toEqual(['socket'])
    const b = connectChannel(path)
    const atFirst = acceptChannel(first) as Channel
    const atSecond = acceptChannel(second) as Channel
    expect(acceptChannel(first)).toBeUndefined()
    expect(atFirst.peer()).toEqual({ pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() })
    expect(b.peer()).toEqual(atSecond.peer())
    a.trySend(byte)
    expect(message(atFirst).bytes).toEqual(byte)
    close(a, b, atFirst, atSecond)
    for (const fd of [first, second]) fs.closeSync(fd)
  })

  test('connecting fails with the errno of the kernel', () => {
    const path = join(folder, 'socket')
    expect(() => connectChannel(path)).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    fs.closeSync(listenForChannels(path))
    expect(() => connectChannel(path)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED' }))
  })

  test('a file that is no socket stays', () => {
    const path = join(folder, 'file')
    fs.writeFileSync(path, 'mine')
    expect(() => listenForChannels(path)).toThrow(expect.objectContaining({ code: 'EEXIST' }))
    expect(fs.readFileSync(path, 'utf8')).toBe('mine')
    expect(() => listenForChannels(join(folder, 'none', 'socket'))).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  test('the longest path can be used', () => {
    const path = join(folder, 'x'.repeat(LONGEST_CHANNEL_PATH - folder.length - 1))
    fs.closeSync(listenForChannels(path))
    expect(() => listenForChannels(`${path}x`)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  })

  test.runIf(process.getuid?.() === 0)('a process of another user is refused by either side', async () => {
    const path = join(folder, 'socket')
    fs.chmodSync(folder, 0o755)
    const listening = listenForChannels(path)
    fs.chmodSync(path, 0o666)
    const other = new Child(AS_NOBODY(path))
    expect(await other.next()).toEqual({ code: 'ERR_EBB_OTHER_USER' })
    await other.ended
    expect(() => acceptChannel(listening)).toThrow(expect.objectContaining({ code: 'ERR_EBB_OTHER_USER' }))
    fs.closeSync(listening)
  })
})
