import { constants } from 'node:os'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { optionsFrom } from './environment.js'

test.each([
  [{}, {}],
  [{ EBB_BUDGET: '', EBB_LOG: '', OTHER: '1' }, {}],
  [{ EBB_BUDGET: '0.05' }, { budget: 0.05 }],
  [{ EBB_MAX_PAUSE: '20' }, { maxPause: 20 }],
  [{ EBB_MAX_PAUSE: '0.5s' }, { maxPause: 500 }],
  [{ EBB_WORTH: '5e6' }, { worth: 5_000_000 }],
  [{ EBB_EVERY: '250' }, { every: 250 }],
  [{ EBB_EVERY: '2s' }, { every: 2000 }],
  [{ EBB_PRESSURE: '0' }, { pressure: false }],
  [{ EBB_PRESSURE: 'on' }, { pressure: true }],
  [{ EBB_LIMIT: '0.8' }, { limit: 0.8 }],
  [{ EBB_SIGNAL: 'SIGUSR2' }, { signal: 'SIGUSR2' }],
  [{ EBB_WORKERS: 'false' }, { workers: false }],
  [{ EBB_LOG: '1' }, { log: true }],
  [
    { EBB_LOG: 'true', EBB_LIMIT: '1', EBB_WORKERS: 'off' },
    { log: true, limit: 1, workers: false }
  ]
])('%j', (environment: Record<string, string>, options) => {
  expect(optionsFrom(environment)).toEqual(options)
})

const NAMES = [
  'EBB_BUDGET',
  'EBB_MAX_PAUSE',
  'EBB_WORTH',
  'EBB_EVERY',
  'EBB_PRESSURE',
  'EBB_LIMIT',
  'EBB_SIGNAL',
  'EBB_WORKERS',
  'EBB_LOG'
]

describe.each(NAMES)('%s', (name) => {
  test('any text is a valid option, or an error of one line that names the variable', () => {
    const text = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.constantFrom(
        ' ',
        '\n',
        'NaN',
        '-1',
        '1e400',
        '0x',
        '1,5',
        '5 s',
        'yes',
        'toString',
        '__proto__',
        'SIGNAL',
        '🌊'
      )
    )
    fc.assert(
      fc.property(text, (text) => {
        try {
          const values = Object.values(optionsFrom({ [name]: text }))
          expect(values).toHaveLength(1)
          const [value] = values
          if (typeof value === 'string') expect(Object.keys(constants.signals)).toContain(value)
          else if (typeof value === 'number') expect(Number.isFinite(value)).toBe(true)
          else expect(value).toBeTypeOf('boolean')
          expect(text.trim()).not.toBe('')
        } catch (error) {
          const { name: kind, code, message } = error as NodeJS.ErrnoException
          expect([kind, code]).toEqual(['TypeError', 'ERR_INVALID_ARG_VALUE'])
          expect(message.startsWith(`${name} must be `)).toBe(true)
          expect(message).toContain(`not ${JSON.stringify(text)}`)
          expect(message).not.toContain('\n')
        }
      })
    )
  })
})
