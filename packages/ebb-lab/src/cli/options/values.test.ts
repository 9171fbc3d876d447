import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  parseCount,
  parseNumber,
  parsePeriod,
  parsePerSecond,
  parsePid,
  parsePort,
  parsePositive,
  parsePositiveTime,
  parsePulses,
  parseServer,
  parseShare,
  parseStages,
  parseTarget,
  parseTime,
  ValueError
} from './values.js'

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, '': 1000 }
const unit = fc.constantFrom(...(Object.keys(UNITS) as (keyof typeof UNITS)[]))
const nat = fc.integer({ min: 0, max: 1_000_000 })
const port = fc.integer({ min: 1, max: 65_535 })

describe('round trips', () => {
  test('times', () => {
    fc.assert(
      fc.property(nat, fc.integer({ min: 0, max: 999 }), unit, (whole, thousandths, of) => {
        const text = `${whole}.${String(thousandths).padStart(3, '0')}`
        expect(parseTime(`${text}${of}`)).toBeCloseTo(Number(text) * UNITS[of], 6)
        expect(parseTime(`${whole}${of}`)).toBe(whole * UNITS[of])
      })
    )
    expect(parseTime('.5')).toBe(500)
  })

  test('counts', () => {
    fc.assert(
      fc.property(nat, (n) => {
        expect(parseCount(String(n))).toBe(n)
        expect(parseCount(`${n}k`)).toBe(n * 1000)
        expect(parsePulses(String(n))).toBe(n)
        expect(parseCount(n.toLocaleString('en').replaceAll(',', '_'))).toBe(n)
      })
    )
    expect(parsePulses('forever')).toBe(Number.POSITIVE_INFINITY)
  })

  test('stages of a ramp', () => {
    const stage = fc.record({ connections: nat, seconds: fc.nat(600_000) })
    fc.assert(
      fc.property(fc.array(stage, { minLength: 1, maxLength: 9 }), (stages) => {
        const text = stages.map(({ connections, seconds }) => `${connections}/${seconds}s`).join(',')
        expect(parseStages(text)).toEqual(
          stages.map(({ connections, seconds }) => ({ connections, over: seconds * 1000 }))
        )
      })
    )
    expect(parseStages('10k/1m, 0/.5')).toEqual([
      { connections: 10_000, over: 60_000 },
      { connections: 0, over: 500 }
    ])
    expect(['100/s', '0.5', '1k', '1.5k/s', '1_000'].map(parsePerSecond)).toEqual([100, 0.5, 1000, 1500, 1000])
    for (const wrong of ['0', '-1', '1m', '100/m', 'k', '', '1e3', 'Infinity']) {
      expect(() => parsePerSecond(wrong)).toThrow('it must be a number per second above 0')
    }
  })

  test('shares', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), (permille) => {
        expect(parseShare(`${permille / 10}%`)).toBeCloseTo(permille / 1000, 9)
        expect(parseShare(String(permille / 1000))).toBe(permille / 1000)
      })
    )
  })

  test('servers', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV6(), fc.domain(), port, (v4, v6, name, at) => {
        expect(parseServer(`${v4}:${at}`).address).toEqual({ host: v4, port: at })
        expect(parseServer(`[${v6}]:${at}`).address).toEqual({ host: v6, port: at })
        expect(parseServer(`${name}:${at}`).address).toEqual({ host: name, port: at })
        expect(parseServer(`:${at}`).address).toEqual({ host: '127.0.0.1', port: at })
        expect(parseServer(`${at}`).address).toEqual({ host: '127.0.0.1', port: at })
      })
    )
    expect(parseServer('/run/a.sock').address).toEqual({ path: '/run/a.sock' })
    expect(parseServer('unix:a b.sock').address).toEqual({ path: 'a b.sock' })
  })

  test('targets: the name ends at the first =, and the rest is the command, unchanged', () => {
    expect(parseTarget('go=./server -port {port} "a = b"')).toEqual({
      name: 'go',
      command: ['/bin/sh', '-c', './server -port {port} "a = b"']
    })
  })
})

/** A parser returns what its doc comment promises, or throws a ValueError with one sentence. */
const promises: [string, (text: string) => unknown, (value: never) => boolean][] = [
  ['parseTime', parseTime, (ms: number) => Number.isFinite(ms) && ms >= 0],
  ['parsePositiveTime', parsePositiveTime, (ms: number) => Number.isFinite(ms) && ms > 0],
  ['parsePeriod', parsePeriod, (ms: number) => ms >= 1 && ms <= 3_600_000],
  ['parseCount', parseCount, (n: number) => Number.isSafeInteger(n) && n >= 0],
  ['parsePositive', parsePositive, (n: number) => Number.isSafeInteger(n) && n > 0],
  ['parsePulses', parsePulses, (n: number) => n === Number.POSITIVE_INFINITY || (Number.isSafeInteger(n) && n >= 0)],
  ['parsePort', parsePort, (n: number) => Number.isInteger(n) && n >= 0 && n <= 65_535],
  ['parseShare', parseShare, (x: number) => x >= 0 && x <= 1],
  ['parseNumber', parseNumber, (x: number) => x > 0 && x < Number.POSITIVE_INFINITY],
  ['parsePid', parsePid, (n: number) => Number.isSafeInteger(n) && n > 0],
  [
    'parseServer',
    parseServer,
    (to: { host: string; port: number } | { path: string }) =>
      'path' in to ? to.path !== '' : to.host !== '' && to.port >= 1 && to.port <= 65_535
  ],
  [
    'parseTarget',
    parseTarget,
    ({ name, command }: { name: string; command: string[] }) => name !== '' && command[2] !== ''
  ]
]

// Text that is close to what is accepted, where parsers tend to fail.
const nearly = fc
  .array(
    fc.constantFrom(...'0123456789.-+eExX_kms%h:[]/=, \n', 'forever', 'Infinity', 'NaN', 'unix:', '٣', '😀', '\0'),
    {
      maxLength: 12
    }
  )
  .map((parts) => parts.join(''))

describe.each(promises)('%s', (_, parse, holds) => {
  test('garbage never passes', () => {
    fc.assert(
      fc.property(fc.oneof(nearly, fc.string(), fc.double().map(String)), (text) => {
        let value: unknown
        try {
          value = parse(text)
        } catch (error) {
          expect(error).toBeInstanceOf(ValueError)
          expect((error as Error).message).not.toContain('\n')
          return
        }
        expect(holds(value as never)).toBe(true)
      }),
      { numRuns: 1000 }
    )
  })

  test.each(['', ' ', '-1', '+1', 'NaN', 'Infinity', '1 2', '٣', '9'.repeat(400), '0x'])('%j is refused', (text) => {
    expect(() => parse(text)).toThrow(ValueError)
  })
})

test.each(['65536', '99999', '1.5', '1e3', '0x50'])('%s is no port', (text) => {
  expect(() => parsePort(text)).toThrow(ValueError)
})

test.each(['localhost', 'localhost:', ':0', '::1:80', '[::1]', '[::1]80', 'a/b:80', '1:2:3', 'unix:'])(
  '%s is no server',
  (text) => {
    expect(() => parseServer(text)).toThrow(ValueError)
  }
)
