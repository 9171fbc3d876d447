import fs, { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test, vi } from 'vitest'
import { descriptors, directory } from '../../../../test/support/sockets.js'
import { countsDescriptorsFast, self } from '../proc/process.js'
import { OwnSwap } from '../proc/swap.js'
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

test('counts what is in swap, if the machine has swap', () => {
  const areas = join(directory(), 'swaps')
  const headings = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n'
  writeFileSync(areas, headings)
  const swap = new OwnSwap(areas)
  const swapped = vi.spyOn(fs, 'readSync')
  onTestFinished(() => swapped.mockRestore())
  expect(swap.bytes()).toBe(0)
  // Only the list was read.
  expect(swapped).toHaveBeenCalledOnce()
  writeFileSync(areas, `${headings}/swapfile file 1000 10 -2\n`)
  expect(swap.bytes()).toBe(self().swapped)
  expect(swapped.mock.calls.length).toBeGreaterThan(2)
  const bytes = vi.spyOn(swap, 'bytes').mockReturnValue(30_000_000)
  const [without, own] = [load(), new Load(swap)]
  onTestFinished(() => own.close())
  without.read()
  own.read()
  expect((own.anonymous - without.anonymous) / 30_000_000).toBeCloseTo(1, 0)
  expect(bytes).toHaveBeenCalled()
})

test('a list of swap areas that cannot be read counts as no swap', () => {
  const swap = new OwnSwap('/nowhere/swaps')
  expect(swap.bytes()).toBe(0)
  swap.close()
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

test.skipIf(!counted)('tells the work of other threads from that of this thread', async () => {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
    parentPort.postMessage('there')
    while (Atomics.load(workerData, 0) === 0);`,
    { eval: true, workerData: new Int32Array(new SharedArrayBuffer(4)) }
  )
  const ended = new Promise((resolve) => worker.once('exit', resolve))
  await new Promise((resolve) => worker.once('message', resolve))
  const own = load()
  own.readBusy()
  await new Promise((resolve) => setTimeout(resolve, 500))
  own.readBusy()
  // On a machine that is busy, too.
  expect(own.othersBusy).toBeGreaterThan(5 * own.busy)
  await worker.terminate()
  await ended
  own.readBusy()
  await new Promise((resolve) => setTimeout(resolve, 300))
  const [before, start] = [own.othersBusy, performance.now()]
  while (performance.now() - start < 300);
  own.readBusy()
  expect(own.busy).toBeGreaterThan(own.othersBusy)
  expect(before).toBeGreaterThan(own.othersBusy)
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
