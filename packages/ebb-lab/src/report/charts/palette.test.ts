import { expect, test } from 'vitest'
import { DARK, LIGHT, SERVERS } from './palette.js'

test('every light colour has exactly one dark colour', () => {
  expect(Object.keys(DARK)).toEqual(Object.keys(LIGHT))
  const light = [...Object.values(LIGHT), ...SERVERS.map(([colour]) => colour)]
  expect(new Set(light).size).toBe(light.length)
})
