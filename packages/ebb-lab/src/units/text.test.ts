import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clean, fit, textWidth, wrap } from './text.js'

describe('clean', () => {
  test('spells out what a terminal or an XML file must not get', () => {
    expect(clean('\x1b[31mred\x07\n')).toBe('\\x1b[31mred\\x07\\x0a')
    expect(clean('a\u2028b\u202ec\ud800d\ufffe')).toBe('a\\u2028b\\u202ec\\ud800d\\ufffe')
  })
  test('leaves ordinary text of any script alone', () => {
    expect(clean('ebb – größe 日本語 😀 "\'<&>')).toBe('ebb – größe 日本語 😀 "\'<&>')
  })
  test('leaves nothing unsafe, whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(clean(text)).not.toMatch(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e]/u)
      })
    )
  })
})

test('width counts wide characters twice and combining marks not at all', () => {
  expect(textWidth('abc')).toBe(3)
  expect(textWidth('日本')).toBe(4)
  expect(textWidth('e\u0301')).toBe(1)
  expect(textWidth('😀')).toBe(2)
})

test('fit and wrap never exceed their columns and lose nothing silently', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 2, max: 30 }), (raw, columns) => {
      const text = clean(raw)
      expect(textWidth(fit(text, columns))).toBeLessThanOrEqual(columns)
      if (fit(text, columns) !== text) expect(fit(text, columns)).toMatch(/…$/u)
      for (const line of wrap(text, columns)) expect(textWidth(line)).toBeLessThanOrEqual(columns)
      expect(wrap(text, columns).join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''))
    })
  )
})
