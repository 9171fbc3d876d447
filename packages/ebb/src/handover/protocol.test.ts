import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  decode,
  decodeAbort,
  decodeAddressed,
  decodeHello,
  decodeListening,
  decodeNumbers,
  decodeWelcome,
  encode,
  encodeAddressed,
  encodeJson,
  encodeNumbers,
  HELLO,
  LISTENING,
  ORDER,
  ROWS,
  roomFor
} from './protocol.js'
import { decodeRows, type Row, RowWriter, sizeOfRow } from './rows.js'

const MOVABLE = 0xff
const body = fc.option(fc.uint8Array({ minLength: 1, maxLength: 300 }), { nil: undefined })
const row: fc.Arbitrary<Row> = fc
  .record({
    server: fc.nat(2),
    id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    flags: fc.nat(MOVABLE),
    wakes: fc.nat(2 ** 32 - 1),
    requests: fc.nat(2 ** 32 - 1),
    deadline: fc.double({ min: 0, max: 1e12, noNaN: true }),
    duration: fc.double({ min: 0, max: 1e12, noNaN: true }),
    cookie: fc.nat(),
    bytes: body,
    part: fc.double({ min: 0, max: 1, noNaN: true }),
    proxied: fc.option(fc.constant(Uint8Array.of(4, ...new Array(36).fill(7))), { nil: undefined })
  })
  .map(({ bytes, part, ...rest }) => {
    const text = bytes && Buffer.from(bytes).toString('latin1')
    const stateSize = Math.round(part * (text?.length ?? 0))
    return { ...rest, body: text, size: text === undefined ? -1 : text.length, stateSize }
  })

function messageOf(rows: readonly Row[]): Buffer {
  const writer = new RowWriter(65_536)
  for (const one of rows) writer.add(one)
  return writer.take()
}

/** Whether a decoder either returns or refuses in the way that callers handle. */
function isHandled(act: () => unknown): boolean {
  try {
    act()
    return true
  } catch (error) {
    return (error as { code?: string }).code === 'ERR_EBB_HANDOVER'
  }
}

describe('rows', () => {
  test('are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 40 }), (rows) => {
        const { kind, payload } = decode(messageOf(rows))
        expect(kind).toBe(ROWS)
        expect(payload.length).toBe(rows.reduce((sum, one) => sum + sizeOfRow(one), 0))
        expect(decodeRows(payload, 3, MOVABLE)).toEqual(rows)
      })
    )
  })

  test.each<[string, Partial<Row>]>([
    ['an id of 0', { id: 0 }],
    ['an id that is no whole number', { id: 1.5 }],
    ['an id that is too large', { id: 2 ** 60 }],
    ['a deadline in the past of all clocks', { deadline: -1 }],
    ['a deadline that is no number', { deadline: Number.NaN }],
    ['an endless timeout', { duration: Number.POSITIVE_INFINITY }],
    ['a server that is not there', { server: 3 }],
    ['a flag of no connection that moves', { flags: 0x100 }],
    ['an attachment of another size', { size: 5, body: 'abc', stateSize: 0 }],
    ['an attachment larger than any string', { size: 0xffff_fffe, body: undefined, stateSize: 0 }],
    ['a state larger than its body', { size: 3, body: 'abc', stateSize: 4 }],
    ['a state without a body', { size: -1, body: undefined, stateSize: 1 }],
    ['addresses of no family', { proxied: new Uint8Array(37) }]
  ])('with %s are refused', (_, wrong) => {
    const [good] = fc.sample(row, 1) as [Row]
    expect(() => decodeRows(decode(messageOf([{ ...good, ...wrong }])).payload, 3, MOVABLE)).toThrow(
      expect.objectContaining({ code: 'ERR_EBB_HANDOVER' })
    )
  })
})

test('orders and numbers are read as they were written', () => {
  fc.assert(
    fc.property(fc.nat(2), fc.nat(4), fc.integer({ min: 1 }), fc.uint8Array(), (server, order, id, bytes) => {
      const addressed = { server, order, id, bytes: Buffer.from(bytes) }
      const { payload } = decode(encodeAddressed(ORDER, addressed))
      expect(decodeAddressed(payload, 3)).toEqual(addressed)
    })
  )
  fc.assert(
    fc.property(fc.array(fc.nat()), (numbers) => {
      expect(decodeNumbers(decode(encodeNumbers(ORDER, numbers)).payload, 0)).toEqual(numbers)
    })
  )
  expect(encodeAddressed(ORDER, { server: 0, order: 0, id: 1, bytes: Buffer.alloc(roomFor(65_536)) })).toHaveLength(
    65_536
  )
})

test.each([
  { pid: 1, node: 'v24', format: 15, free: 100, servers: [] },
  { pid: -1, node: 'v24', format: 15, free: 100, servers: [{ name: '0', kind: 'net' }] },
  { pid: 1, node: 24, format: 15, free: 100, servers: [{ name: '0', kind: 'net' }] },
  { pid: 1, node: 'v24', format: 15, free: 1e300, servers: [{ name: '0', kind: 'net' }] },
  { pid: 1, node: 'v24', format: 15, free: 100, servers: [null] },
  { pid: 1, node: 'x'.repeat(5000), format: 15, free: 100, servers: [{ name: '0', kind: 'net' }] },
  {
    pid: 1,
    node: 'v24',
    format: 15,
    free: 1,
    servers: [
      { name: '0', kind: 'net' },
      { name: '0', kind: 'http' }
    ]
  },
  [],
  null,
  'text'
])('a HELLO that is not valid is refused: %j', (value) => {
  const { payload } = decode(encode(HELLO, Buffer.from(JSON.stringify(value))))
  expect(() => decodeHello(payload)).toThrow(expect.objectContaining({ code: 'ERR_EBB_HANDOVER' }))
})

test('another version is refused with a sentence that names both', () => {
  const message = encodeJson(LISTENING, { reason: 'x' })
  message.writeUInt16LE(7, 4)
  expect(() => decode(message)).toThrow(/version 7.*version 1/)
})

test('whatever comes is read, or refused with the code', () => {
  const decoders: ((payload: Buffer) => unknown)[] = [
    decodeHello,
    decodeWelcome,
    decodeAbort,
    (payload) => decodeListening(payload, 3),
    (payload) => decodeRows(payload, 3, MOVABLE),
    (payload) => decodeAddressed(payload, 3),
    (payload) => decodeNumbers(payload, 1)
  ]
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const payload = Buffer.from(bytes)
      return isHandled(() => decode(payload)) && decoders.every((read) => isHandled(() => read(payload)))
    }),
    { numRuns: 2000 }
  )
  // Messages that were valid, with a byte changed, or cut.
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 5 }),
      fc.nat(),
      fc.nat(255),
      fc.nat(),
      (rows, at, byte, cut) => {
        const message = Buffer.from(messageOf(rows))
        message[8 + (at % (message.length - 8))] = byte
        const payload = message.subarray(8, message.length - (cut % 3 === 0 ? cut % message.length : 0))
        return isHandled(() => decodeRows(payload, 3, MOVABLE))
      }
    ),
    { numRuns: 2000 }
  )
})
