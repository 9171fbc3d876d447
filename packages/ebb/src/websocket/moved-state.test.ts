import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeMember, encodeMember } from './hibernate/hub-moving.js'
import { decodeState, encodeState, type MovedState, ownerOf } from './moved-state.js'
import { decodeOrder, encodeOrder } from './orders.js'
import { CLOSE_RECEIVED, CLOSE_SENT, ENDING, INCOMPLETE, QUEUED } from './states.js'

const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
const optional = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined })

/** States that a connection can have. */
const state: fc.Arbitrary<MovedState> = fc
  .record({
    owner: fc.string({ unit: 'grapheme', maxLength: 50 }),
    closing: optional(fc.record({ code: fc.constantFrom(1000, 1005, 3000), reason: fc.constant(Buffer.from('why')) })),
    message: optional(fc.record({ opcode: fc.constantFrom(1, 2), bytes })),
    rest: optional(bytes),
    queue: optional(bytes),
    pong: optional(bytes),
    own: bytes.map((some) => some.toString('latin1')),
    others: fc.constantFrom(0, CLOSE_SENT, CLOSE_SENT | ENDING)
  })
  .map(({ others, ...rest }) => ({
    ...rest,
    pong: rest.queue && rest.pong,
    flags:
      others |
      (rest.closing ? CLOSE_RECEIVED : 0) |
      (rest.message || rest.rest ? INCOMPLETE : 0) |
      (rest.queue ? QUEUED : 0)
  }))

const member = fc.record({
  protocol: fc.string(),
  tags: fc.uniqueArray(fc.string({ minLength: 1, maxLength: 256 }), { maxLength: 10 }),
  awaiting: fc.boolean(),
  answering: fc.boolean(),
  answered: fc.nat()
})

const order = fc.record({
  kind: fc.constantFrom('text', 'binary', 'ping', 'close'),
  owner: fc.string(),
  tag: optional(fc.string()),
  code: fc.constantFrom(1005, 1000, 4999),
  data: fc.uint8Array({ maxLength: 123 }).map((array) => Buffer.from(array))
})

/** Whether a decoder either returns or refuses in the way that callers handle. */
function isHandled(decode: () => unknown): boolean {
  try {
    decode()
    return true
  } catch (error) {
    return (error as { code?: string }).code === 'ERR_EBB_HANDOVER'
  }
}

test('what moves is read as it was written', () => {
  fc.assert(
    fc.property(state, member, order, (one, other, third) => {
      expect(decodeState(encodeState(one))).toEqual(one)
      expect(ownerOf(encodeState(one))).toBe(one.owner)
      expect(decodeMember(encodeMember(other))).toEqual(other)
      expect(decodeOrder(encodeOrder(third))).toEqual(third)
    })
  )
})

describe('what another process sends', () => {
  test('is read, or refused with the code, whatever it is', () => {
    fc.assert(
      fc.property(state, fc.nat(), fc.nat(255), bytes, (one, at, value, noise) => {
        const valid = encodeState(one)
        const place = at % valid.length
        const changed = valid.slice(0, place) + String.fromCharCode(value) + valid.slice(place + 1)
        for (const text of [changed, valid.slice(0, place), valid + noise.toString('latin1')]) {
          expect(isHandled(() => decodeState(text))).toBe(true)
        }
        for (const decode of [decodeState, ownerOf, decodeMember]) {
          expect(isHandled(() => decode(noise.toString('latin1')))).toBe(true)
        }
        expect(isHandled(() => decodeOrder(noise))).toBe(true)
      }),
      { numRuns: 1000 }
    )
  })

  test.each([
    ['a flag of a connection that is broken', { flags: 16 }],
    ['bytes that wait, and no flag for them', { queue: Buffer.from('x') }],
    ['a flag for bytes that wait, and none', { flags: QUEUED }],
    ['a pong after nothing', { pong: Buffer.from('x') }],
    ['a part of a message, and no flag for it', { rest: Buffer.from('x') }],
    ['a close frame that is too long', { flags: CLOSE_RECEIVED, closing: { code: 1000, reason: Buffer.alloc(124) } }],
    ['a code that must not be sent', { flags: CLOSE_RECEIVED, closing: { code: 1006, reason: Buffer.alloc(0) } }],
    ['a message of no kind', { flags: INCOMPLETE, message: { opcode: 9, bytes: Buffer.alloc(0) } }]
  ])('with %s is refused', (_, wrong) => {
    const nothing = { closing: undefined, message: undefined, rest: undefined, queue: undefined, pong: undefined }
    const good: MovedState = { flags: 0, owner: 'hibernate ', own: '', ...nothing }
    expect(() => decodeState(encodeState({ ...good, ...wrong }))).toThrow(
      expect.objectContaining({ code: 'ERR_EBB_HANDOVER' })
    )
  })

  test.each([
    ['["chat",["a"],false,false]', 'what is missing'],
    ['["chat",["a",1],false,false,0]', 'a tag that is no string'],
    ['["chat",[],false,false,-1]', 'a time before all times'],
    ['{}', 'no list']
  ])('of a hub, %s is refused: %s', (text) => {
    expect(() => decodeMember(text)).toThrow(expect.objectContaining({ code: 'ERR_EBB_HANDOVER' }))
  })
})
