import fc from 'fast-check'
import { expect, test } from 'vitest'
import { textWidth } from '../../units/text.js'
import { hanging } from './terminal.js'

test('a long note is wrapped at blanks, and continues indented', () => {
  expect(hanging('note: the server ended before it listened', 20)).toEqual([
    'note: the server',
    '  ended before it',
    '  listened'
  ])
})

test('a path stays whole, and columns keep their blanks', () => {
  const path = '/tmp/a/very/long/path/without/any/blank.ndjson'
  expect(hanging(`Recording to ${path}`, 20)).toEqual(['Recording to', `  ${path}`])
  expect(hanging('ebb    run 1 of 2  main', 40)).toEqual(['ebb    run 1 of 2  main'])
})

test('says everything, and no line of short words is too long', () => {
  const words = fc.array(fc.stringMatching(/^[a-z]{1,10}$/), { minLength: 1, maxLength: 30 })
  fc.assert(
    fc.property(words, fc.integer({ min: 14, max: 80 }), (text, columns) => {
      const lines = hanging(text.join(' '), columns)
      expect(lines.map((line) => line.trim()).join(' ')).toBe(text.join(' '))
      for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(columns)
    })
  )
})
