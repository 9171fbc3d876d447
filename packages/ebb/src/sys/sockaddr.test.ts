import { isIPv6, SocketAddress as NodeAddress } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { directory } from '../../../../test/support/sockets.js'
import * as libc from './libc.js'
import { type Address, decodeAddress, formatAddress, SOCKADDR_SIZE, SocketAddress } from './sockaddr.js'
import { setOption } from './socket.js'

const port = fc.integer({ min: 0, max: 65_535 })

/** Eight groups, many of them zero, as in real addresses. */
const groups = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 0xffff })), {
  minLength: 8,
  maxLength: 8
})

/** One of the many spellings of an IPv6 address: any run of zeros as `::`, leading zeros, capitals, IPv4 at the end. */
function spelling(address: fc.Arbitrary<number[]>): fc.Arbitrary<{ groups: number[]; text: string }> {
  return fc
    .record({
      groups: address,
      from: fc.nat(7),
      most: fc.integer({ min: 0, max: 8 }),
      padded: fc.boolean(),
      capitals: fc.boolean(),
      dotted: fc.boolean()
    })
    .map(({ groups, from, most, padded, capitals, dotted }) => {
      const parts = groups.map((group) => group.toString(16).padStart(padded ? 4 : 1, '0'))
      const [high = 0, low = 0] = groups.slice(6)
      let end = 8
      if (dotted) {
        parts.splice(6, 2, [high >> 8, high & 255, low >> 8, low & 255].join('.'))
        end = 6
      }
      let run = 0
      while (run < most && from + run < end && groups[from + run] === 0) run++
      const text =
        run === 0 ? parts.join(':') : `${parts.slice(0, from).join(':')}::${parts.slice(from + run).join(':')}`
      return { groups, text: capitals ? text.toUpperCase() : text }
    })
}

function bytesOf(groups: number[]): number[] {
  return groups.flatMap((group) => [group >> 8, group & 255])
}

function roundTrip(address: Address): ReturnType<typeof decodeAddress> {
  const { bytes } = new SocketAddress(address)
  return decodeAddress(bytes, bytes.length)
}

/** A path without NUL, of 1 to `most` bytes of UTF-8. */
function path(most: number): fc.Arbitrary<string> {
  return fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: most })
    .filter((text) => Buffer.byteLength(text) <= most && !text.includes('\0'))
}

describe('IPv4', () => {
  test('survives encoding and decoding', () => {
    fc.assert(
      fc.property(fc.ipV4(), port, (host, port) => {
        expect(roundTrip({ host, port })).toEqual({ address: host, family: 'IPv4', port })
      })
    )
  })

  test('is encoded in network byte order, in 16 bytes', () => {
    const { bytes, length, family } = new SocketAddress({ host: '1.2.3.4', port: 0x1234 })
    expect([family, length]).toEqual([libc.AF_INET, 16])
    expect([...bytes.subarray(2)]).toEqual([0x12, 0x34, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0])
  })
})

describe('IPv6', () => {
  test('all spellings of an address give the same bytes', () => {
    fc.assert(
      fc.property(spelling(groups), port, ({ groups, text }, port) => {
        expect(isIPv6(text)).toBe(true)
        const { bytes } = new SocketAddress({ host: text, port })
        expect([...bytes.subarray(8, 24)]).toEqual(bytesOf(groups))
        expect(bytes.readUInt16BE(2)).toBe(port)
      })
    )
  })

  test('is decoded to the spelling that Node normalises to', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.ipV6(),
          spelling(groups).map(({ text }) => text)
        ),
        port,
        (host, port) => {
          const decoded = roundTrip({ host, port })
          if ('path' in decoded) throw new Error('not an IP address')
          const theirs = new NodeAddress({ address: host, family: 'ipv6' }).address
          expect(new NodeAddress({ address: decoded.address, family: 'ipv6' }).address).toBe(theirs)
          expect(decoded).toMatchObject({ family: 'IPv6', port })
          expect(roundTrip({ host: decoded.address, port })).toEqual(decoded)
        }
      )
    )
  })

  test.each([
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:0:0:1:1:0:0:1', '2001::1:1:0:0:1'],
    ['0:0:0:0:0:ffff:102:304', '::ffff:1.2.3.4'],
    ['::ffff:255.255.255.255', '::ffff:255.255.255.255'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304']
  ])('%s is written %s', (host, expected) => {
    expect(roundTrip({ host, port: 1 })).toEqual({ address: expected, family: 'IPv6', port: 1 })
  })

  test('a zone by number', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1_000_000, max: 0xffff_ffff }), (zone) => {
        expect(roundTrip({ host: `fe80::1%${zone}`, port: 1 })).toMatchObject({ address: `fe80::1%${zone}` })
      })
    )
  })

  const linkLocal = Object.entries(networkInterfaces()).flatMap(([name, infos = []]) =>
    infos.flatMap((info) => (info.family === 'IPv6' && info.scopeid > 0 ? [{ name, ...info }] : []))
  )[0]
  test.skipIf(linkLocal === undefined)('a zone by name is the interface, whatever other addresses it has', () => {
    const { name = '', address = '', scopeid = 0 } = linkLocal ?? {}
    const { bytes } = new SocketAddress({ host: `${address}%${name}`, port: 0 })
    expect(bytes.readUInt32LE(24)).toBe(scopeid)
    expect(decodeAddress(bytes, bytes.length)).toMatchObject({ address: `${address}%${name}` })
  })
})

describe('Unix', () => {
  test('a path survives encoding and decoding', () => {
    fc.assert(
      fc.property(path(107), (path) => {
        expect(roundTrip({ path })).toEqual({ path })
      })
    )
  })

  test('so does an abstract name, including its NUL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 20 }), (name) => {
        expect(roundTrip({ path: `\0${name}` })).toEqual({ path: `\0${name}` })
      })
    )
  })

  test('a path ends at its NUL, whatever follows it', () => {
    const { bytes, length } = new SocketAddress({ path: '/tmp/é' })
    const room = Buffer.alloc(SOCKADDR_SIZE, 0x61)
    bytes.copy(room)
    expect(decodeAddress(room, length)).toEqual({ path: '/tmp/é' })
    expect(decodeAddress(room, length + 20)).toEqual({ path: '/tmp/é' })
  })

  test('an unnamed socket has an empty path', () => {
    const bytes = Buffer.alloc(SOCKADDR_SIZE)
    bytes[0] = libc.AF_UNIX
    expect(decodeAddress(bytes, 2)).toEqual({ path: '' })
    expect(decodeAddress(bytes, 0)).toEqual({ path: '' })
  })
})

describe('addresses that are not valid', () => {
  test.each<[Address, string]>([
    [{ host: 'example.com', port: 1 }, 'host must be an IPv4 or IPv6 address, not "example.com"'],
    [{ host: '', port: 1 }, 'host must be an IPv4 or IPv6 address, not ""'],
    [{ host: '1.2.3', port: 1 }, 'host must be an IPv4 or IPv6 address, not "1.2.3"'],
    [{ host: '1.2.3.4.5', port: 1 }, 'host must be an IPv4 or IPv6 address, not "1.2.3.4.5"'],
    [{ host: '256.0.0.1', port: 1 }, 'host must be an IPv4 or IPv6 address, not "256.0.0.1"'],
    [{ host: '1::2::3', port: 1 }, 'host must be an IPv4 or IPv6 address, not "1::2::3"'],
    [{ host: '[::1]', port: 1 }, 'host must be an IPv4 or IPv6 address, not "[::1]"'],
    [{ host: '::1', port: 65_536 }, 'port must be a whole number from 0 to 65535, not 65536'],
    [{ host: '::1', port: -1 }, 'port must be a whole number from 0 to 65535, not -1'],
    [{ host: '::1', port: 1.5 }, 'port must be a whole number from 0 to 65535, not 1.5'],
    [{ host: '::1', port: Number.NaN }, 'port must be a whole number from 0 to 65535, not NaN'],
    [{ host: 'fe80::1%nosuchinterface', port: 1 }, 'no network interface "nosuchinterface" with IPv6'],
    [{ host: 'fe80::1%4294967296', port: 1 }, 'no network interface "4294967296" with IPv6'],
    [{ path: '' }, 'path of a Unix socket must be 1 to 107 bytes long, not 0'],
    [{ path: 'a'.repeat(108) }, 'path of a Unix socket must be 1 to 107 bytes long, not 108'],
    // 107 characters, more bytes.
    [{ path: 'é'.repeat(54) }, 'path of a Unix socket must be 1 to 107 bytes long, not 108'],
    [{ path: `\0${'a'.repeat(108)}` }, 'path of a Unix socket must be 1 to 107 bytes long, not 109'],
    [{ path: 'a\0b' }, 'path of a Unix socket must not contain NUL']
  ])('%j', (address, message) => {
    expect(() => new SocketAddress(address)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE', message })
    )
  })

  test('any other value is refused, never encoded as another address', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'0123456789abcfx:.%/ '), maxLength: 24 }), (host) => {
        try {
          expect(roundTrip({ host, port: 1 })).toHaveProperty('address')
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
        }
      }),
      { numRuns: 500 }
    )
  })
})

test.each<[Address, string]>([
  [{ host: '127.0.0.1', port: 80 }, '127.0.0.1:80'],
  [{ host: '::1', port: 80 }, '[::1]:80'],
  [{ path: '/run/a' }, '/run/a'],
  [{ path: '\0name' }, '@name']
])('formatAddress(%j) is %s', (address, text) => {
  expect(formatAddress(address)).toBe(text)
})

describe('the kernel uses the same encoding', () => {
  const IP_FREEBIND = 15
  const bytes = Buffer.alloc(SOCKADDR_SIZE)
  const length = new Uint32Array(1)
  let fd = -1

  function open(family: number): void {
    if (fd !== -1) libc.close(fd)
    fd = libc.check(libc.socket(family, libc.SOCK_STREAM | libc.SOCK_CLOEXEC, 0), 'socket')
  }

  /** Returns the result of `getsockname` for a socket bound to `address`. */
  function bound(address: Address): ReturnType<typeof decodeAddress> {
    const target = new SocketAddress(address)
    open(target.family)
    // Also addresses that this machine does not have.
    if (target.family !== libc.AF_UNIX) setOption(fd, libc.IPPROTO_IP, IP_FREEBIND, 1)
    libc.check(libc.bindAddress(fd, target.pointer, target.length), 'bind', formatAddress(address))
    length[0] = SOCKADDR_SIZE
    libc.check(libc.getsockname(fd, libc.addressOf(bytes), libc.addressOf(length)), 'getsockname')
    return decodeAddress(bytes, length[0])
  }

  beforeEach(() => {
    fd = -1
  })
  afterEach(() => {
    if (fd !== -1) libc.close(fd)
  })

  test('IPv4', () => {
    const unicast = fc.tuple(
      fc.integer({ min: 1, max: 223 }),
      fc.nat(255),
      fc.nat(255),
      fc.integer({ min: 1, max: 254 })
    )
    fc.assert(
      fc.property(unicast, (parts) => {
        const host = parts.join('.')
        const info = bound({ host, port: 0 })
        expect(info).toMatchObject({ address: host, family: 'IPv4' })
        // Binding to the port that the kernel chose gives the same address.
        const chosen = 'port' in info ? info.port : 0
        expect(chosen).toBeGreaterThan(0)
        expect(bound({ host, port: chosen })).toEqual(info)
      })
    )
  })

  test('IPv6', (context) => {
    try {
      bound({ host: '::1', port: 0 })
    } catch {
      context.skip('no IPv6 here')
    }
    const unicast = fc
      .tuple(fc.integer({ min: 0x2000, max: 0x3fff }), groups)
      .map(([first, groups]) => [first, ...groups.slice(1)])
    fc.assert(
      fc.property(spelling(unicast), ({ text }) => {
        const info = bound({ host: text, port: 0 })
        expect(info).toEqual({ ...roundTrip({ host: text, port: 0 }), port: 'port' in info && info.port })
      })
    )
    expect(bound({ host: '::ffff:127.3.2.1', port: 0 })).toMatchObject({ address: '::ffff:127.3.2.1', family: 'IPv6' })
  })

  test('paths, up to the longest', () => {
    const at = directory()
    const room = 107 - Buffer.byteLength(join(at, '/'))
    let count = 0
    // Numbered, because two runs must not use one path.
    const name = path(room - 5).filter((text) => !text.includes('/'))
    fc.assert(
      fc.property(name, (name) => {
        const path = join(at, `${count++}`.padStart(4, '0').concat('-', name))
        expect(bound({ path })).toEqual({ path })
      })
    )
    const longest = join(at, 'x'.repeat(room))
    expect(Buffer.byteLength(longest)).toBe(107)
    expect(bound({ path: longest })).toEqual({ path: longest })
  })

  test('abstract names, up to the longest', () => {
    for (const name of [`ebb test ${process.pid}`, `${process.pid}\0\0é`, `${process.pid}`.padEnd(107, 'x')]) {
      expect(bound({ path: `\0${name}` })).toEqual({ path: `\0${name}` })
    }
  })

  test('an unnamed socket', () => {
    open(libc.AF_UNIX)
    length[0] = SOCKADDR_SIZE
    libc.check(libc.getsockname(fd, libc.addressOf(bytes), libc.addressOf(length)), 'getsockname')
    expect(decodeAddress(bytes, length[0])).toEqual({ path: '' })
  })
})
