import { expect, test } from 'vitest'
import { checkSwarmName } from './subjects.js'

test.each(['lab', 'LAB_2-b', 'x'.repeat(64)])('accepts the name %s', (name) => {
  expect(checkSwarmName(name)).toBe(name)
})

test.each(['', 'a.b', '*', '>', 'a b', 'a\nb', 'ä', 'x'.repeat(65)])('rejects the name %j', (name) => {
  expect(() => checkSwarmName(name)).toThrow(/letters, digits, - and _/)
})
