import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

/**
 * Starts workers with 30 MB of garbage. A worker reports its heap size when asked, or becomes busy and never answers.
 */
const PROGRAM = `
  import { once } from 'node:events'
  import { Worker } from 'node:worker_threads'
  import { release } from 'ebb'
  const source = \`
    import { parentPort } from 'node:worker_threads'
    import v8 from 'node:v8'
    let held = Array.from({ length: 30 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
    parentPort.on('message', (what) => {
      if (what === 'drop') held = undefined
      if (what === 'busy') {
        parentPort.postMessage(0)
        for (;;);
      }
      parentPort.postMessage(v8.getHeapStatistics().total_physical_size)
    })
    parentPort.postMessage(0)
  \`
  const ask = async (worker, what) => {
    worker.postMessage(what)
    return (await once(worker, 'message'))[0]
  }
  const start = async (count) => {
    const workers = Array.from({ length: count }, () => new Worker(source, { eval: true }))
    await Promise.all(workers.map((worker) => once(worker, 'message')))
    return workers
  }
  const print = (value) => console.log(JSON.stringify(value))
`

test('the heap of each worker shrinks, and the workers go on', async () => {
  const child = new Child(`${PROGRAM}
    const workers = await start(3)
    const before = await Promise.all(workers.map((worker) => ask(worker, 'drop')))
    const done = await release({ workers: true })
    const after = await Promise.all(workers.map((worker) => ask(worker, 'size')))
    const again = await release({ workers: true })
    print({ workers: done.workers, before, after, gone: done.before - done.afterTrim, again: again.workers })
    for (const worker of workers) await worker.terminate()
    print((await release({ workers: true })).workers)`)
  const { workers, before, after, gone, again } = await child.next<{
    workers: number
    before: number[]
    after: number[]
    gone: number
    again: number
  }>()
  expect(workers).toBe(3)
  expect(again).toBe(3)
  for (const [i, size] of after.entries()) expect(size).toBeLessThan((before[i] as number) / 2)
  expect(gone).toBeGreaterThan(before.reduce((sum, size) => sum + size, 0) / 2)
  expect(await child.next()).toBe(0)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('without the option, workers do not collect', async () => {
  const child = new Child(`${PROGRAM}
    const [worker] = await start(1)
    const before = await ask(worker, 'drop')
    const { workers } = await release()
    print({ workers, before, after: await ask(worker, 'size') })
    process.exit()`)
  const { workers, before, after } = await child.next<{ workers: number; before: number; after: number }>()
  expect(workers).toBe(0)
  expect(after).toBeGreaterThan(before / 2)
})

test('a busy worker is skipped, and the others collect', async () => {
  const child = new Child(`${PROGRAM}
    const workers = await start(3)
    await Promise.all(workers.map((worker) => ask(worker, 'drop')))
    await ask(workers[1], 'busy')
    const done = await release({ workers: true })
    print(done.workers)
    print(await ask(workers[0], 'size') < 15e6)
    for (const worker of workers) await worker.terminate()
    print((await release({ workers: true })).workers)`)
  expect(await child.next()).toBe(2)
  expect(await child.next()).toBe(true)
  expect(await child.next()).toBe(0)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('does not wait for a worker that ends meanwhile', async () => {
  const child = new Child(`${PROGRAM}
    const workers = await start(2)
    await ask(workers[1], 'busy')
    const done = release({ workers: true })
    setTimeout(() => workers[1].terminate(), 100)
    const { ms } = await done
    print(ms < 1900)
    process.exit()`)
  expect(await child.next()).toBe(true)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('a call with workers waits for a release without them; other calls share it', async () => {
  const child = new Child(`${PROGRAM}
    const [worker] = await start(1)
    const without = release()
    const withWorkers = release({ workers: true })
    print([withWorkers === without, release({ workers: true }) === withWorkers, release() === withWorkers])
    print([(await without).workers, (await withWorkers).workers])
    const next = release({ workers: true })
    print(release() === next)
    print((await next).workers)
    await worker.terminate()`)
  expect(await child.next()).toEqual([false, true, true])
  expect(await child.next()).toEqual([0, 1])
  expect(await child.next()).toBe(true)
  expect(await child.next()).toBe(1)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('in a worker thread: its own workers cannot be reached, so their number is 0', async () => {
  const child = new Child(`
    import { Worker } from 'node:worker_threads'
    const source = \`import('ebb').then(async ({ govern, release }) => {
      govern()
      console.log(JSON.stringify((await release({ workers: true })).workers))
    })\`
    new Worker(source, { eval: true })`)
  expect(await child.next()).toBe(0)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})
