import { expect, test } from 'vitest'
import { decide, Limit } from './limit.mjs'
import { normal, numbers } from './random.mjs'

/**
 * Decides 1,000 figures whose ratios vary by about `noise` around `ratio`, and of whose rounds every tenth is spoilt.
 * The usual ratio is 1. Returns how many were within the limit, and the mean number of rounds.
 *
 * @param {number} ratio
 * @param {number} noise standard deviation, as a share of the ratio
 */
async function thousand(ratio, noise) {
  const random = numbers(7)
  let [kept, rounds] = [0, 0]
  for (let i = 0; i < 1000; i++) {
    const limit = new Limit({ name: 'figure', usual: 1 })
    await decide({ limit }, async () => {
      rounds++
      const spoilt = random() < 0.1 ? 0.4 + 2 * random() : 1
      return { limit: ratio * Math.exp(noise * normal(random)) * spoilt }
    })
    if (limit.kept) kept++
  }
  return { kept, rounds: rounds / 1000 }
}

test.each([0.02, 0.05, 0.1])(
  'a figure that varies by %d is within its limit, and a fifth more is not',
  async (noise) => {
    const same = await thousand(1, noise)
    const worse = await thousand(1.2, noise)
    expect(same.kept).toBeGreaterThanOrEqual(998)
    expect(worse.kept).toBeLessThanOrEqual(2)
  }
)

test('a figure far from its limit takes few rounds, and one near it more', async () => {
  const [far, near] = [await thousand(0.8, 0.03), await thousand(1.08, 0.03)]
  expect(far.rounds).toBeLessThan(9)
  expect(near.rounds).toBeGreaterThan(far.rounds)
})

test('one side must lead by six votes; after 40 rounds, the majority decides', () => {
  const limit = new Limit({ name: 'x', usual: 1 })
  for (let i = 0; i < 5; i++) limit.add(1)
  expect(limit).toMatchObject({ decided: false, kept: true })
  limit.add(1)
  expect(limit).toMatchObject({ decided: true, kept: true })

  const torn = new Limit({ name: 'x', usual: 1 })
  for (let i = 0; i < 40; i++) {
    expect(torn.decided).toBe(false)
    torn.add(i % 2 === 0 ? 1 : 2)
  }
  // No majority says that the figure is within its limit.
  expect(torn).toMatchObject({ decided: true, kept: false })
})

test('votes after the decision do not count', () => {
  const limit = new Limit({ name: 'x', usual: 1, lead: 2 })
  for (const ratio of [1, 1, 9, 9, 9]) limit.add(ratio)
  expect(limit.kept).toBe(true)
  expect(limit.line).toContain('(2 rounds, 1.00 to 1.00)')
})

test('what could not be measured is above the limit', () => {
  const limit = new Limit({ name: 'x', usual: 1, lead: 2 })
  for (let i = 0; i < 2; i++) limit.add(Number.NaN)
  expect(limit).toMatchObject({ decided: true, kept: false })
  expect(limit.line).toContain('BROKEN')
})

test('a line says when the figure is so good that its limit would not catch a fifth any more', () => {
  const [better, usual] = [1, 1.2].map((ratio) => {
    const limit = new Limit({ name: 'x', usual: 1.2, lead: 1 })
    limit.add(ratio)
    return limit.line
  })
  expect(better).toContain('lower it')
  expect(usual).not.toContain('lower it')
})

test('all limits of a measurement are decided, by the same rounds', async () => {
  const limits = { a: new Limit({ name: 'a', usual: 1, lead: 1 }), b: new Limit({ name: 'b', usual: 1, lead: 3 }) }
  /** @type {number[]} */
  const rounds = []
  await decide(limits, async (round) => {
    rounds.push(round)
    return { a: 1, b: 2 }
  })
  expect(rounds).toEqual([0, 1, 2])
  expect([limits.a.kept, limits.b.kept]).toEqual([true, false])
})
