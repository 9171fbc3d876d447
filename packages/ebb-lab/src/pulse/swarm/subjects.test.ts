import { expect, test } from 'vitest'
import { checkSwarmName } from './subjects.js'

test.each(['lab', 'LAB_2-b', 'x'.repeat(64)])('%s is a swarm', (name) => {
  expect(checkSwarmName(name)).toBe(name)
})

test.each(['', 'a.b', '*', '>', 'a b', 'a\nb', 'ä', 'x'.repeat(65)])('%j is none', (name) => {
  expect(() => checkSwarmName(name)).toThrow(/letters, digits, - and _/)
})
