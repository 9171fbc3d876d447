import { closeSync, openSync, readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { descriptors } from '../../../../test/support/sockets.js'
import { countsDescriptorsFast, self } from '../proc/process.js'
import { Load } from './load.js'

function load(): Load {
  const load = new Load()
  onTestFinished(() => load.close())
  return load
}

test('reads anonymous memory as /proc/self/status has it', () => {
  const own = load()
  const held = Buffer.alloc(50_000_000, 1)
  own.read()
  const { anonymous } = self()
  expect(own.anonymous / anonymous).toBeCloseTo(1, 1)
  expect(own.anonymous).toBeGreaterThan(held.length)
})

test.skipIf(!countsDescriptorsFast())('counts descriptors', () => {
  const own = load()
  own.read()
  const before = own.descriptors
  const fds = Array.from({ length: 100 }, () => openSync('/dev/null', 'r'))
  own.read()
  expect(own.descriptors - before).toBe(100)
  for (const fd of fds) closeSync(fd)
  own.read()
  expect(own.descriptors).toBe(before)
})

const counted = (() => {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[0]) > 0
  } catch {
    return false
  }
})()

test.skipIf(!counted)('only readBusy() starts a new interval of CPU time', async () => {
  const own = load()
  own.readBusy()
  const end = performance.now() + 200
  while (performance.now() < end) own.read()
  own.readBusy()
  const working = own.busy
  await new Promise((resolve) => setTimeout(resolve, 300))
  for (let i = 0; i < 100; i++) own.read()
  own.readBusy()
  expect(own.busy).toBeLessThan(working / 2)
})

test('reads without new descriptors, and leaves none after close()', () => {
  const before = descriptors()
  const own = new Load()
  const open = descriptors()
  own.read()
  own.readBusy()
  expect(descriptors()).toBe(open)
  own.close()
  expect(descriptors()).toBe(before)
  own.close()
})
