/** One run on several servers. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ClientOptions } from './client-options.js'
import type { Crowd } from './crowd.js'
import { crowdOfAll } from './shared-crowd.js'
import { FakeCrowd } from './swarm/testing/fake-crowd.js'

async function shared(servers: number): Promise<{ crowd: Crowd; parts: FakeCrowd[] }> {
  const parts: FakeCrowd[] = []
  const clients = Array.from({ length: servers }, (_, i) => [`server ${i}`, { rate: 8 } as ClientOptions] as const)
  const crowd = await crowdOfAll(
    clients.map(([name, options]) => [name, options]),
    10,
    async () => {
      const part = new FakeCrowd()
      parts.push(part)
      return part
    }
  )
  return { crowd, parts }
}

test('shares all connections out evenly, and names the servers in the result', () =>
  fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 16 }),
      fc.array(fc.tuple(fc.nat(100), fc.nat(100)), { maxLength: 6 }),
      async (servers, steps) => {
        const { crowd, parts } = await shared(servers)
        let held = 0
        let connects = 0
        for (const [more, fewer] of steps) {
          const opened = await crowd.connect(more)
          expect(opened.connected).toBe(more)
          expect(opened.targets?.map(({ target }) => target)).toEqual(parts.map((_, i) => `server ${i}`))
          expect(opened.targets?.reduce((sum, { connected }) => sum + connected, 0)).toBe(more)
          connects += more
          held = Math.max(0, held + more - fewer)
          await crowd.shrink(fewer)
          expect(crowd.open).toBe(held)
          const open = parts.map((part) => part.open)
          expect(Math.max(...open) - Math.min(...open)).toBeLessThanOrEqual(steps.length)
        }
        expect(crowd.latencies.connects.corrected.count).toBe(connects)
        await crowd.close()
        expect(parts.map((part) => part.open)).toEqual(parts.map(() => 0))
      }
    ),
    { numRuns: 50 }
  ))

test('one server has a crowd of its own', async () => {
  const { crowd, parts } = await shared(1)
  expect(crowd).toBe(parts[0])
})
