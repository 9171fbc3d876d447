import { expect, test } from 'vitest'
import { parseShape, shapeOf } from './shape.js'

const timing = { offset: 0, jitter: 0 }

test('a shape has the keys of a box file, with their units', () => {
  expect(shapeOf({ shape: parseShape('poisson,rate=200,hold=5s,duration=1m,offset=2') })).toEqual({
    ...timing,
    shape: 'poisson',
    rate: 200,
    hold: 5000,
    duration: 60_000,
    offset: 2000,
    seed: 1
  })
  expect(shapeOf({ shape: parseShape('sawtooth, high=1k, period=10'), seed: 7 })).toMatchObject({
    low: 0,
    high: 1000,
    period: 10_000,
    duration: Number.POSITIVE_INFINITY,
    seed: 7
  })
  expect(shapeOf({ shape: parseShape('ramp,stages=10k/60s,0/30s,linger=1') })).toMatchObject({
    stages: [
      { connections: 10_000, over: 60_000 },
      { connections: 0, over: 30_000 }
    ],
    linger: 1000
  })
  expect(shapeOf({ shape: parseShape('pulse,big=5,iterations=2') })).toMatchObject({ shape: 'pulse', big: 5 })
})

test('--ramp is held for --linger', () => {
  const ramp = [{ connections: 5, over: 100 }]
  expect(shapeOf({ ramp })).toEqual({ ...timing, shape: 'ramp', stages: ramp, linger: 4000, seed: 1 })
  expect(shapeOf({ ramp, linger: 7 })).toMatchObject({ linger: 7 })
  const down = [...ramp, { connections: 0, over: 100 }]
  expect(shapeOf({ ramp: down })).toMatchObject({ linger: 0 })
  expect(shapeOf({ ramp: down, linger: 7 })).toMatchObject({ linger: 7 })
  expect(shapeOf({ shape: parseShape('ramp,stages=5/1s,0/1s') })).toMatchObject({ linger: 0 })
  expect(shapeOf({ shape: parseShape('ramp,stages=5/1s') })).toMatchObject({ linger: 4000 })
})

test('without a shape, the pulses of the plan are made', () => {
  expect(shapeOf({ big: 7, churn: 3 })).toBe(undefined)
})

test.each([
  ['square', /^shape: a shape is pulse, steady/],
  ['steady', /^connections: it is missing/],
  ['steady,connections=1,hold=5', /^hold: unknown key: a steady plan has shape, offset/],
  ['poisson,rate=x,hold=5', /^rate: it must be a number per second above 0/],
  ['ramp,stages=10', /^stages: a ramp is COUNT\/TIME/],
  ['', /^shape: /]
])('refuses %j', (text, message) => {
  expect(() => parseShape(text)).toThrow(message)
})

test('refuses options that exclude each other', () => {
  const ramp = [{ connections: 5, over: 100 }]
  const steady = parseShape('steady,connections=1')
  expect(() => shapeOf({ shape: steady, ramp })).toThrow(/leave out --ramp or --shape/)
  expect(() => shapeOf({ shape: steady, big: 4 })).toThrow(/--big is for pulses/)
  expect(() => shapeOf({ shape: steady, linger: 4 })).toThrow(/--linger is for pulses/)
  expect(() => shapeOf({ seed: 4 })).toThrow(/add --shape/)
  expect(() => shapeOf({ shape: parseShape('trace=/no/such.csv') })).toThrow(/ENOENT/)
})
