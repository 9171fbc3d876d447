import { expect, test } from 'vitest'
import { DARK, LIGHT } from './palette.js'

test('the page can swap colours one for one', () => {
  expect(Object.keys(DARK)).toEqual(Object.keys(LIGHT))
  expect(new Set(Object.values(LIGHT)).size).toBe(Object.keys(LIGHT).length)
})
