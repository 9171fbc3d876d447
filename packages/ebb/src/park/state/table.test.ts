import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FRESH, Table } from './table.js'

test('an id leads to its row while the row is in use, and never again', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constant('take'), fc.constant('drop'), fc.constant('trim'), fc.constant('crowd')), {
        maxLength: 200
      }),
      fc.infiniteStream(fc.nat()),
      (steps, numbers) => {
        const table = new Table()
        const live = new Map<number, number>()
        const gone = new Set<number>()
        const take = () => {
          const row = table.take()
          const id = table.id(row)
          expect(Number.isSafeInteger(id) && id > 0).toBe(true)
          expect(live.has(id) || gone.has(id)).toBe(false)
          expect([...live.values()]).not.toContain(row)
          expect([table.fd(row), table.wakes(row), table.flags(row)]).toEqual([-1, 0, FRESH])
          live.set(id, row)
        }
        for (const step of steps) {
          if (step === 'take') take()
          else if (step === 'crowd') {
            const before = new Set(live.keys())
            for (let i = 0; i < 1100; i++) {
              const row = table.take()
              live.set(table.id(row), row)
            }
            // Most connections of the spike close.
            for (const [id, row] of live) {
              if (before.has(id) || (numbers.next().value as number) % 400 === 0) continue
              table.drop(row)
              live.delete(id)
              gone.add(id)
            }
          } else if (step === 'trim') table.trim()
          else if (live.size > 0) {
            const [id, row] = [...live][(numbers.next().value as number) % live.size] as [number, number]
            table.drop(row)
            live.delete(id)
            gone.add(id)
          }
          expect(table.size).toBe(live.size)
        }
        for (const [id, row] of live) expect(table.find(id)).toBe(row)
        for (const id of gone) expect(table.find(id)).toBe(-1)
      }
    ),
    { numRuns: 60 }
  )
})

test.each([0, -1, 0.5, 2 ** 22, 2 ** 53 - 1, Number.NaN, Number.POSITIVE_INFINITY])('%s is no id', (id) => {
  const table = new Table()
  expect(table.find(id)).toBe(-1)
  const row = table.take()
  table.drop(row)
  expect(table.find(id)).toBe(-1)
})

test('a descriptor leads to its row, and each wake is counted', () => {
  const table = new Table()
  const row = table.take()
  table.park(row, 5000)
  expect([table.fd(row), table.row(5000)]).toEqual([5000, row])
  expect(table.wake(row)).toBe(1)
  expect(table.fd(row)).toBe(-1)
  table.park(row, 7)
  expect(table.wake(row)).toBe(2)
  expect(table.wakes(row)).toBe(2)
})

test('trim() frees the memory of a crowd that has gone, and the remaining connections keep their rows', () => {
  const table = new Table()
  const rows = Array.from({ length: 10_000 }, (_, i) => {
    const row = table.take()
    table.park(row, i + 20)
    return row
  })
  const { bytes } = table
  const [first = 0] = rows
  const id = table.id(first)
  for (const row of rows.slice(1)) table.drop(row)
  table.trim()
  expect(table.bytes * 5).toBeLessThan(bytes)
  expect(table.find(id)).toBe(first)
  expect(table.row(table.fd(first))).toBe(first)
  expect(table.id(table.take())).toBeGreaterThan(0)
})
