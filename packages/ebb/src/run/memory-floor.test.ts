import { expect, test } from 'vitest'
import { MemoryFloor } from './memory-floor.js'

test('says nothing until a window has passed', () => {
  const floor = new MemoryFloor(60_000)
  expect(floor.every).toBe(5000)
  for (let i = 0; i < 11; i++) expect(floor.add(100)).toBeUndefined()
  expect(floor.add(100)).toBe(100)
})

test('a spike does not raise the floor, and a leak does', () => {
  const floor = new MemoryFloor(60_000)
  for (let i = 0; i < 12; i++) floor.add(100)
  for (let i = 0; i < 11; i++) expect(floor.add(900)).toBe(100)
  expect(floor.add(900)).toBe(900)
  expect(floor.add(300)).toBe(300)
})

test('forgets what an earlier process held', () => {
  const floor = new MemoryFloor(60_000)
  for (let i = 0; i < 12; i++) floor.add(100)
  floor.clear()
  for (let i = 0; i < 11; i++) expect(floor.add(500)).toBeUndefined()
  expect(floor.add(500)).toBe(500)
})
