import { expect, test } from 'vitest'
import { Lease } from './lease.js'

const ANN = { from: 'a', token: 'x', who: 'ann' }
const BOB = { from: 'b', token: 'y', who: 'bob' }

test('the first holder has the lease until it is silent for too long', () => {
  const lease = new Lease(100)
  expect(lease.expired(1e9)).toBe(false)
  expect(lease.take(ANN, 0)).toBe(true)
  expect(lease.take(BOB, 1)).toBe(false)
  expect(lease.holder?.who).toBe('ann')
  expect(lease.renew('a', 'x', 90)).toBe(true)
  expect(lease.expired(189)).toBe(false)
  expect(lease.silence(150)).toBe(60)
  expect(lease.expired(190)).toBe(true)
  // An expired lease must be freed first, because connections have to be closed before.
  expect(lease.take(BOB, 500)).toBe(false)
  lease.free()
  expect(lease.take(BOB, 501)).toBe(true)
})

test('a holder may ask again; id and token must both match', () => {
  const lease = new Lease(100)
  lease.take(ANN, 0)
  expect(lease.take(ANN, 50)).toBe(true)
  expect(lease.silence(60)).toBe(10)
  for (const other of [
    { ...ANN, from: 'b' },
    { ...ANN, token: 'y' }
  ]) {
    expect(lease.take(other, 60)).toBe(false)
    expect(lease.renew(other.from, other.token, 60)).toBe(false)
    expect(lease.isHeldBy(other.from, other.token)).toBe(false)
  }
  expect(lease.silence(60)).toBe(10)
})
