import { describe, expect, test } from 'vitest'
import { checkBoolean, checkFromZero, checkFunction, checkId, checkObject, checkPid, toBytes } from './arguments.js'
import { shown } from './errors.js'

test.each([
  ['text', '"text"'],
  ['x'.repeat(101), `"${'x'.repeat(100)}..."`],
  [5n, '5n'],
  [Number.NaN, 'NaN'],
  [undefined, 'undefined'],
  [null, 'null'],
  [Symbol('s'), 'Symbol(s)'],
  [() => {}, 'a function'],
  [[1], 'an array'],
  [{}, 'an object'],
  [Object.create(null), 'an object'],
  [{ constructor: 5 }, 'an object'],
  [new Date(), 'an object of class Date']
])('shown(%o)', (value, text) => {
  expect(shown(value)).toBe(text)
})

const VALUES = [undefined, null, 5, -1, Number.NaN, 1n, 'x', Symbol('s'), true, {}, [], () => {}, new Uint16Array(1)]

describe.each<[string, (value: unknown) => unknown, unknown[]]>([
  ['checkObject', (value) => checkObject(value, 'it'), [{}, new Uint16Array(1)]],
  ['checkFunction', (value) => checkFunction(value, 'it'), [undefined, () => {}]],
  ['checkBoolean', (value) => checkBoolean(value, 'it'), [undefined, true]],
  ['checkFromZero', (value) => checkFromZero(value, 'it', 'bytes'), [5]],
  ['checkId', checkId, [5, -1, Number.NaN]],
  ['checkPid', checkPid, [5]],
  ['toBytes', (value) => toBytes(value as string), ['x']]
])('%s', (_, check, allowed) => {
  test('takes what is allowed, and throws ERR_INVALID_ARG_VALUE for anything else', () => {
    const taken = VALUES.filter((value) => {
      try {
        check(value)
        return true
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError)
        expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE', message: expect.stringContaining(shown(value)) })
        return false
      }
    })
    expect(taken.map(shown)).toEqual(allowed.map(shown))
  })
})

test('toBytes() encodes strings as UTF-8, and returns bytes as they are', () => {
  const bytes = new Uint8Array([1])
  expect([toBytes('ä'), toBytes(bytes)]).toEqual([Buffer.from([0xc3, 0xa4]), bytes])
  expect(toBytes(bytes)).toBe(bytes)
})
