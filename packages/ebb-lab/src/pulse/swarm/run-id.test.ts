/** Ids of runs, and what is kept for them. */
import { expect, test } from 'vitest'
import { Latencies } from '../latencies.js'
import { emptyOpened } from '../opened.js'
import { emptyTraffic } from '../traffic.js'
import { Journal } from './journal.js'
import { KeptRuns } from './kept-runs.js'
import { checkRunId, keyOf, leaseOf, newRunId } from './run-id.js'

test('neither the key in the bucket nor the secret of the agents shows the id, and all ids differ', () => {
  const ids = Array.from({ length: 100 }, newRunId)
  expect(new Set(ids.flatMap((id) => [checkRunId(id), keyOf(id), leaseOf(id)])).size).toBe(300)
  for (const id of ids) expect(`${keyOf(id)} ${leaseOf(id)}`).not.toContain(id)
  for (const wrong of ['', 'x', ids[0]?.toUpperCase().replace(/\d/g, 'A'), `${ids[0]} `]) {
    expect(() => checkRunId(wrong as string)).toThrow(/32 hexadecimal digits/)
  }
})

test('a journal keeps results until a later pulse is asked for', () => {
  const journal = new Journal()
  const spoken = { answered: 0, traffic: emptyTraffic() }
  const result = { opened: emptyOpened(), latencies: new Latencies().encoded(), began: 0, lost: {}, ...spoken }
  expect(journal.view(0)).toEqual({ result: null, next: 0 })
  journal.add(0, result)
  journal.add(2, result)
  expect(journal.view(0)).toEqual({ result, next: 3 })
  expect(journal.view(1)).toEqual({ result: null, next: 3 })
  expect(journal.view(0)).toEqual({ result: null, next: 3 })
  expect(journal.view(2)).toEqual({ result, next: 3 })
})

test('the results of 16 runs are kept for a day', () => {
  const kept = new KeptRuns()
  const journals = Array.from({ length: 17 }, () => new Journal())
  for (const [i, journal] of journals.entries()) kept.add(`run ${i}`, journal, i)
  expect(kept.get('run 0', 17)).toBeUndefined()
  expect(kept.get('run 1', 17)).toBe(journals[1])
  expect(kept.get('run 1', 24 * 3_600_000 + 1)).toBe(journals[1])
  expect(kept.get('run 1', 24 * 3_600_000 + 2)).toBeUndefined()
  kept.delete('run 16')
  expect(kept.get('run 16', 17)).toBeUndefined()
})
