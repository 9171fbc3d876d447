import { expect, test } from 'vitest'
import { mostFrequent, total } from './causes.js'

test('the rarest causes are added up; nothing is lost', () => {
  const causes = { A: 5, OTHER: 4, B: 3, C: 2, D: 1 }
  expect(mostFrequent(causes, 5)).toEqual(causes)
  expect(mostFrequent(causes, 3)).toEqual({ A: 5, OTHER: 10 })
  expect(mostFrequent({ A: 5, B: 3, C: 2, D: 1 }, 3)).toEqual({ A: 5, B: 3, OTHER: 3 })
  expect(total(mostFrequent(causes, 2))).toBe(total(causes))
})
