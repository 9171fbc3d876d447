import { expect, test } from 'vitest'
import { release } from './release.js'
import { runtimeView } from './runtime.js'

test('system never falls; released is the part that the heap no longer holds', async () => {
  const rest = runtimeView()
  let kept: string[][] | undefined = Array.from({ length: 200 }, () =>
    Array.from({ length: 5000 }, () => `${Math.random()}`)
  )
  const high = runtimeView()
  expect(high.system).toBeGreaterThan(rest.system)
  expect(high.inuse).toBeGreaterThan(rest.inuse)
  expect(kept.length).toBe(200)
  kept = undefined
  await release()
  const after = runtimeView()
  expect(after.system).toBeGreaterThanOrEqual(high.system)
  expect(after.inuse).toBeLessThan(high.inuse)
  expect(after.released).toBeGreaterThan(0)
  expect(after.released).toBeLessThan(after.system)
  expect(after.objects).toBe(null)
})
