import { expect, test } from 'vitest'
import { MOST_POINTS } from '../report/charts/parts.js'
import { synthetic } from '../report/testing/synthetic.js'
import { GrowingRecording } from './growing-recording.js'

test('an hour takes as much memory as a few minutes, and keeps its peak', () => {
  const { header, samples } = synthetic({})
  const [sample] = samples
  const growing = new GrowingRecording(header)
  for (let i = 0; i < 36_000; i++) {
    growing.addSample({ ...(sample as (typeof samples)[0]), t: i * 100, anonymous: i === 12_345 ? 999e6 : 10e6 })
    growing.addEvent({ type: 'event', t: i * 100, event: 'line', text: 'x' })
    growing.addEvent({
      type: 'event',
      t: i * 100,
      event: 'cycle',
      cycle: 0,
      clients: i % 7,
      system: 1,
      inuse: 1,
      released: 0,
      objects: null
    })
  }
  const { recording } = growing
  expect(recording.samples.length).toBeLessThan(MOST_POINTS)
  expect(recording.events.length).toBeLessThan(MOST_POINTS)
  expect(Math.max(...recording.samples.map(({ anonymous }) => anonymous))).toBe(999e6)
  expect(growing.peak).toBe(999e6)
  expect(recording.samples[0]?.t).toBe(0)
  expect(recording.samples.at(-1)?.t).toBe(3_599_900)
})

test('its load is that of the last sample', () => {
  const { header, samples } = synthetic({})
  const growing = new GrowingRecording(header)
  const sample = samples[0] as (typeof samples)[0]
  growing.addSample({ ...sample, t: 0, cpu: 500 })
  expect(growing.load).toBeNull()
  growing.addSample({ ...sample, t: 100, cpu: 525 })
  expect(growing.load).toBe(0.25)
})
