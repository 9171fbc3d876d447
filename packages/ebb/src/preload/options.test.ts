import fc from 'fast-check'
import { expect, test } from 'vitest'
import { optionsFrom } from './options.js'

const DEFAULTS = optionsFrom({})

test('defaults', () => {
  expect(DEFAULTS).toEqual({
    http: true,
    webSockets: true,
    net: false,
    idle: 1000,
    deflate: false,
    carry: [],
    giveBack: true,
    log: true
  })
})

test.each([
  [{ EBB_PARK_HTTP: '', EBB_PARK_OTHER: '1', EBB_IDLE: '1' }, {}],
  [{ EBB_PARK_HTTP: 'none' }, { http: false }],
  [
    { EBB_PARK_HTTP: '0', EBB_PARK_NET: '1' },
    { http: false, net: true }
  ],
  [{ EBB_PARK_WS: '3000' }, { webSockets: new Set([3000]) }],
  [{ EBB_PARK_NET: ' 3000,65535' }, { net: new Set([3000, 65_535]) }],
  [{ EBB_PARK_NET: 'all' }, { net: true }],
  [{ EBB_PARK_IDLE: '250' }, { idle: 250 }],
  [{ EBB_PARK_IDLE: '1.5s' }, { idle: 1500 }],
  [{ EBB_PARK_DEFLATE: 'on' }, { deflate: true }],
  [{ EBB_PARK_CARRY: 'user, session' }, { carry: ['user', 'session'] }],
  [{ EBB_PARK_GIVE_BACK: 'off' }, { giveBack: false }],
  [{ EBB_PARK_LOG: 'false' }, { log: false }]
])('%j', (environment: Record<string, string>, options) => {
  expect(optionsFrom(environment)).toEqual({ ...DEFAULTS, ...options })
})

const NAMES = ['HTTP', 'WS', 'NET', 'IDLE', 'DEFLATE', 'CARRY', 'GIVE_BACK', 'LOG'].map((name) => `EBB_PARK_${name}`)

test.each(NAMES)('%s: any text is a valid option, or an error of one line that names the variable', (name) => {
  const odd = fc.constantFrom(
    ' ',
    '\n',
    'NaN',
    '-1',
    '1e4',
    '0x50',
    '1,5',
    '5 s',
    'yes',
    '__proto__',
    '0,80',
    '70000',
    ','
  )
  fc.assert(
    fc.property(fc.oneof(fc.string({ minLength: 1 }), odd), (text) => {
      try {
        const options = optionsFrom({ [name]: text })
        for (const choice of [options.http, options.webSockets, options.net]) {
          if (typeof choice === 'boolean') continue
          expect(choice.size).toBeGreaterThan(0)
          for (const port of choice) expect(Number.isInteger(port) && port > 0 && port < 65_536).toBe(true)
        }
        expect(options.idle).toBeGreaterThan(0)
        for (const property of options.carry) expect(property.trim()).toBe(property)
      } catch (error) {
        const { name: kind, code, message } = error as NodeJS.ErrnoException
        expect([kind, code]).toEqual(['TypeError', 'ERR_INVALID_ARG_VALUE'])
        expect(message.startsWith(`${name} must be `)).toBe(true)
        expect(message).not.toContain('\n')
      }
    })
  )
})
