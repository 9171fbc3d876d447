import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseListenAddress } from './watch.js'

test('an address to listen on has 127.0.0.1 by default', () => {
  fc.assert(
    fc.property(fc.ipV4(), fc.ipV6(), fc.domain(), fc.integer({ min: 0, max: 65_535 }), (v4, v6, name, port) => {
      for (const host of [v4, name]) expect(parseListenAddress(`${host}:${port}`)).toEqual({ host, port })
      expect(parseListenAddress(`[${v6}]:${port}`)).toEqual({ host: v6, port })
      for (const text of [`${port}`, `:${port}`]) expect(parseListenAddress(text)).toEqual({ host: '127.0.0.1', port })
    })
  )
})

test.each(['', ':', 'localhost', 'localhost:', ':65536', '::1:9090', '127.0.0.1:9090/metrics', ':-1'])(
  'refuses %j',
  (text) => {
    expect(() => parseListenAddress(text)).toThrow(/it must be :PORT|a port is/)
  }
)
