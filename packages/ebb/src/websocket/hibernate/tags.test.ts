import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkTags, TagIndex } from './tags.js'

test('random tags of random connections, against sets', () => {
  const tag = fc.constantFrom('a', 'b', 'c', 'room:1', 'room:2', 'x'.repeat(256))
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant('set'), fc.nat(40), fc.uniqueArray(tag, { maxLength: 5 })) },
    { weight: 3, arbitrary: fc.tuple(fc.constant('delete'), fc.nat(40), fc.constant([])) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('trim'), fc.constant(0), fc.constant([])) }
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const index = new TagIndex()
      const model = new Map<number, string[]>()
      for (const [what, row, tags] of steps) {
        if (what === 'set') {
          index.set(row, tags)
          model.set(row, tags)
        } else if (what === 'delete') {
          index.delete(row)
          model.delete(row)
        } else index.trim(41)
        for (let other = 0; other <= 40; other++) expect(index.get(other)).toEqual(model.get(other) ?? [])
        const all = new Set([...model.values()].flat())
        expect(index.tags).toBe(all.size)
        for (const name of all) {
          const rows = [...model].filter(([, list]) => list.includes(name)).map(([other]) => other)
          expect([...index.rows(name)].sort((a, b) => a - b)).toEqual(rows.sort((a, b) => a - b))
          expect(index.size(name)).toBe(rows.length)
        }
        expect(index.size('never')).toBe(0)
      }
    }),
    { numRuns: 60 }
  )
})

test('memory goes back when connections or tags have gone, and what is left stays', () => {
  const index = new TagIndex()
  for (let row = 0; row < 20_000; row++) index.set(row, [`user:${row}`, 'all', `room:${row % 100}`])
  const { bytes } = index
  for (let row = 0; row < 20_000; row++) if (row % 1000 !== 7) index.delete(row)
  index.trim(20_000)
  expect(index.bytes * 4).toBeLessThan(bytes)
  expect(index.tags).toBe(20 + 1 + 1)
  expect(index.get(19_007)).toEqual(['user:19007', 'all', 'room:7'])
  expect(index.size('all')).toBe(20)
  for (let row = 7; row < 20_000; row += 1000) index.delete(row)
  index.trim(0)
  expect(index.bytes).toBe(0)
  index.set(3, ['again'])
  expect([...index.rows('again')]).toEqual([3])
})

test('what may be a tag', () => {
  expect(checkTags(['a', 'b', 'a'])).toEqual(['a', 'b'])
  expect(checkTags([])).toEqual([])
  expect(checkTags(['x'.repeat(256)])).toHaveLength(1)
  const ten = Array.from({ length: 10 }, (_, i) => `${i}`)
  expect(checkTags([...ten, '0'])).toEqual(ten)
  for (const wrong of ['a', undefined, [1], [''], ['x'.repeat(257)], [...ten, '10'], { length: 1 }]) {
    expect(() => checkTags(wrong)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  }
})
