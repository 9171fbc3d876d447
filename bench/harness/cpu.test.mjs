import { expect, test } from 'vitest'
import { cpuOf } from './cpu.mjs'

test('the CPU time of a process grows with its work, and by what the process itself counts', () => {
  const [before, own] = [cpuOf(process.pid), process.cpuUsage()]
  let sum = 0
  // The clock of the process, not of the wall: other work on the machine does not shorten the loop.
  for (let used = own; used.user + used.system - own.user - own.system < 50_000; used = process.cpuUsage())
    sum += used.user
  const measured = cpuOf(process.pid) - before
  const { user, system } = process.cpuUsage(own)
  expect(sum).toBeGreaterThan(0)
  expect(measured).toBeGreaterThanOrEqual(45_000)
  expect(measured).toBeLessThanOrEqual((user + system) * 1.1)
})
