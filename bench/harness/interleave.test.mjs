import { expect, test } from 'vitest'
import { interleave, orderOfRound, pairedRatios, together } from './interleave.mjs'

const SIDES = [{ name: 'ebb' }, { name: 'plain' }]

test('even rounds run forwards, odd rounds backwards', () => {
  const items = [1, 2, 3]
  expect([0, 1, 2, 3].map((round) => orderOfRound(items, round))).toEqual([
    [1, 2, 3],
    [3, 2, 1],
    [1, 2, 3],
    [3, 2, 1]
  ])
  expect(items).toEqual([1, 2, 3])
})

test('the sides of a comparison run one after the other, and each round reverses their order', async () => {
  /** @type {string[]} */
  const log = []
  const results = await interleave(SIDES, 3, async ({ name }, round) => {
    log.push(`${name} ${round} starts`)
    await new Promise((resolve) => setImmediate(resolve))
    log.push(`${name} ${round} ends`)
    return `${name} ${round}`
  })
  expect(results).toEqual({ ebb: ['ebb 0', 'ebb 1', 'ebb 2'], plain: ['plain 0', 'plain 1', 'plain 2'] })
  const order = ['ebb 0', 'plain 0', 'plain 1', 'ebb 1', 'ebb 2', 'plain 2']
  expect(log).toEqual(order.flatMap((run) => [`${run} starts`, `${run} ends`]))
})

test('without rounds, each side has no results', async () => {
  expect(await interleave(SIDES, 0, async () => 1)).toEqual({ ebb: [], plain: [] })
})

test('together runs the sides at the same time', async () => {
  let running = 0
  let most = 0
  const results = await together(SIDES, async ({ name }) => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setImmediate(resolve))
    running--
    return name.length
  })
  expect(results).toEqual({ ebb: 3, plain: 5 })
  expect(most).toBe(2)
})

test('ratios are computed within a round', () => {
  const ebb = [{ ms: 2 }, { ms: 30 }, { ms: 1 }]
  const plain = [{ ms: 1 }, { ms: 10 }, { ms: 2 }]
  expect(pairedRatios(ebb, plain, ({ ms }) => ms)).toEqual([2, 3, 0.5])
  expect(() => pairedRatios(ebb, plain.slice(1), ({ ms }) => ms)).toThrow('cannot pair 3 rounds with 2 rounds')
})
