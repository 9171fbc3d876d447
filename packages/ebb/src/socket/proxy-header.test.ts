import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatIPv6 } from '../sys/sockaddr.js'
import { ProxiedAddresses } from './proxied.js'
import { decodeProxyHeader, mayBeProxyHeader, proxyHeaderLength } from './proxy-header.js'

const port = fc.integer({ min: 0, max: 65_535 })
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

function address(raw: Uint8Array): string {
  return raw.length === 4 ? raw.join('.') : formatIPv6(Buffer.from(raw))
}

function line(client: Uint8Array, server: Uint8Array, clientPort: number, serverPort: number): Buffer {
  const protocol = client.length === 4 ? 'TCP4' : 'TCP6'
  return Buffer.from(`PROXY ${protocol} ${address(client)} ${address(server)} ${clientPort} ${serverPort}\r\n`)
}

function binary(command: number, family: number, rest: Uint8Array): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, rest.length >> 8, rest.length & 255]), rest])
}

function ports(client: number, server: number): Buffer {
  return Buffer.from([client >> 8, client & 255, server >> 8, server & 255])
}

const addresses = fc.constantFrom(4, 16).chain((size) => fc.tuple(bytes(size), bytes(size), port, port))

test('addresses of both versions, whatever follows the header', () => {
  const proxied = new ProxiedAddresses()
  fc.assert(
    fc.property(
      addresses,
      fc.nat(2000),
      fc.uint8Array(),
      fc.nat(3),
      ([client, server, from, to], tlv, after, index) => {
        const family = client.length === 4 ? 0x11 : 0x21
        const rest = Buffer.concat([client, server, ports(from, to), Buffer.alloc(tlv)])
        for (const header of [line(client, server, from, to), binary(0x21, family, rest)]) {
          const all = Buffer.concat([header, after])
          expect(proxyHeaderLength(all)).toBe(header.length)
          // Any part of the header may be one, and is not enough.
          for (let cut = 1; cut < header.length; cut += 1 + (cut >> 4)) {
            const length = proxyHeaderLength(header.subarray(0, cut))
            expect(length === 0 || length === header.length).toBe(true)
            expect(mayBeProxyHeader(header.subarray(0, cut))).toBe(true)
          }
          const record = decodeProxyHeader(header)
          expect(record).toBeInstanceOf(Uint8Array)
          proxied.set(index, record as Uint8Array)
          const name = client.length === 4 ? 'IPv4' : 'IPv6'
          expect(proxied.client(index)).toEqual({ address: address(client), family: name, port: from })
          expect(proxied.server(index)).toEqual({ address: address(server), family: name, port: to })
          proxied.delete(index)
          expect([proxied.has(index), proxied.client(index)]).toEqual([false, undefined])
        }
      }
    )
  )
})

test('arbitrary bytes never throw', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.string().map((text) => Buffer.from(`PROXY ${text}\r\n`))
      ),
      (some) => {
        const length = proxyHeaderLength(some)
        if (length > 0 && length <= some.length) decodeProxyHeader(some.subarray(0, length))
      }
    )
  )
})

test.each([
  ['PROXY UNKNOWN\r\n'],
  ['PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n'],
  [binary(0x20, 0x00, Buffer.alloc(0)).toString('latin1')],
  [binary(0x20, 0x11, Buffer.alloc(12)).toString('latin1')],
  [binary(0x21, 0x00, Buffer.alloc(7)).toString('latin1')],
  [binary(0x21, 0x31, Buffer.alloc(216)).toString('latin1')],
  [binary(0x21, 0x12, Buffer.alloc(12)).toString('latin1')]
])('%j keeps the addresses of the connection', (header) => {
  const raw = Buffer.from(header, 'latin1')
  expect(proxyHeaderLength(raw)).toBe(raw.length)
  expect(decodeProxyHeader(raw)).toBe('own')
})

test.each([
  'PROXY\r\n',
  'PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n',
  'PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n',
  'PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n',
  'PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n',
  'PROXY TCP4 ::1 5.6.7.8 1 2\r\n',
  'PROXY TCP6 1.2.3.4 ::1 1 2\r\n',
  'PROXY TCP6 fe80::1%lo ::1 1 2\r\n',
  'PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n',
  'PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n',
  'PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n',
  'PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n',
  'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n',
  `PROXY TCP4 ${' '.repeat(100)}\r\n`,
  'GET / HTTP/1.1\r\n',
  'PROXZ',
  '\r\n\r\nGET',
  binary(0x11, 0x11, Buffer.alloc(12)).toString('latin1'),
  binary(0x22, 0x11, Buffer.alloc(12)).toString('latin1'),
  binary(0x21, 0x41, Buffer.alloc(12)).toString('latin1'),
  binary(0x21, 0x13, Buffer.alloc(12)).toString('latin1'),
  binary(0x21, 0x11, Buffer.alloc(11)).toString('latin1'),
  binary(0x21, 0x21, Buffer.alloc(35)).toString('latin1')
])('%j is no valid header', (header) => {
  const raw = Buffer.from(header, 'latin1')
  const length = proxyHeaderLength(raw)
  if (length !== -1) expect(decodeProxyHeader(raw.subarray(0, length))).toBe(undefined)
})
