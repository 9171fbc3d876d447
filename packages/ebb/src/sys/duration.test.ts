import { expect, test } from 'vitest'
import { milliseconds } from './duration.js'

test.each([
  [5, 5],
  [0.5, 0.5],
  ['250ms', 250],
  ['5s', 5000],
  [' 1.5m ', 90_000],
  ['1h', 3_600_000]
])('%j is %d ms', (value, ms) => {
  expect(milliseconds(value, 'idle')).toBe(ms)
})

test.each([0, -1, Number.NaN, '', '5', '0s', '-5s', '5 s', '5sec', '1d', '1e3ms', null, {}])(
  '%j is no time',
  (value) => {
    expect(() => milliseconds(value as never, 'idle')).toThrow(
      expect.objectContaining({
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringMatching(/^idle must be milliseconds, or a time with a unit/)
      })
    )
  }
)
