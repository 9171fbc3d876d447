import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

/** A program that makes the garbage of a spike, part of it old. */
const PROGRAM = `
  import { release } from './packages/ebb/build/index.js'
  import { getHeapStatistics } from 'node:v8'
  const print = (value) => console.log(JSON.stringify(value))
  const object = (_, i) => ({ i, text: String(i) })
  const spike = () => Array.from({ length: 40 }, () => Array.from({ length: 10_000 }, object))
`

test('returns what a spike took, nearly as much as a collection at once', async () => {
  const child = new Child(`${PROGRAM}
    await release()
    let held = spike()
    held = undefined
    const inSteps = await release({ inSteps: true })
    held = spike()
    held = undefined
    print([inSteps, await release()])
    // The buffer that began the collection is gone.
    print(getHeapStatistics().external_memory)`)
  const [inSteps, atOnce] = await child.next<Record<string, number>[]>()
  expect(inSteps).toMatchObject({ inSteps: true, workers: 0 })
  expect(atOnce).toMatchObject({ inSteps: false })
  for (const done of [inSteps, atOnce]) expect(done?.afterTrim).toBeLessThan((done?.before as number) / 2)
  expect(inSteps?.afterTrim).toBeLessThan(1.5 * (atOnce?.afterTrim as number))
  expect(inSteps?.pauseMs).toBeGreaterThan(0)
  expect(inSteps?.ms).toBeGreaterThan(inSteps?.pauseMs as number)
  expect(await child.next()).toBeLessThan(20e6)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('collects once more if more than `enough` remains', async () => {
  const child = new Child(`${PROGRAM}
    import { PerformanceObserver } from 'node:perf_hooks'
    let ends = 0
    new PerformanceObserver((list) => {
      ends += list.getEntries().filter(({ detail }) => detail.kind === 4).length
    }).observe({ entryTypes: ['gc'] })
    for (const enough of [undefined, 1e12, 1]) {
      const before = ends
      await release({ inSteps: true, enough })
      await new Promise((resolve) => setTimeout(resolve, 50))
      print(ends - before)
    }
    process.exit()`)
  expect([await child.next(), await child.next(), await child.next()]).toEqual([1, 1, 2])
})

test('the program runs meanwhile', async () => {
  const child = new Child(`${PROGRAM}
    const live = Array.from({ length: 8 }, spike)
    let turns = 0
    let over = false
    const turn = () => {
      turns++
      if (!over) setImmediate(turn)
    }
    setImmediate(turn)
    const { ms, pauseMs, inSteps } = await release({ inSteps: true })
    over = true
    print({ turns, inSteps, part: pauseMs / ms, live: live.length })`)
  const { turns, inSteps, part } = await child.next<{ turns: number; inSteps: boolean; part: number }>()
  expect(inSteps).toBe(true)
  expect(turns).toBeGreaterThan(20)
  expect(part).toBeLessThan(1)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('the release of a governor does not hold the process open; release() does', async () => {
  const unheld = new Child(`
    import { releaseUnheld } from './packages/ebb/build/memory/release.js'
    const print = (value) => console.log(JSON.stringify(value))
    void releaseUnheld({ inSteps: true }).then(() => print('done'))
    process.on('exit', () => print('exit'))`)
  expect(await unheld.next()).toBe('exit')
  expect(await unheld.ended).toMatchObject({ code: 0, stderr: '' })
  const held = new Child(`${PROGRAM}
    import { releaseUnheld } from './packages/ebb/build/memory/release.js'
    const first = releaseUnheld({ inSteps: true })
    print(release({ inSteps: true }) === first)
    print((await first).inSteps)`)
  expect(await held.next()).toBe(true)
  expect(await held.next()).toBe(true)
  expect(await held.ended).toMatchObject({ code: 0, stderr: '' })
})

test('a release at once waits for one in steps; a release in steps shares one at once', async () => {
  const child = new Child(`${PROGRAM}
    const steps = release({ inSteps: true })
    const once = release()
    print([once === steps, release({ inSteps: true }) === once, release() === once])
    print([(await steps).inSteps, (await once).inSteps])`)
  expect(await child.next()).toEqual([false, true, true])
  expect(await child.next()).toEqual([true, false])
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('collects at once if there is no room for the buffer', async () => {
  const child = new Child(`${PROGRAM}
    const { ArrayBuffer } = globalThis
    globalThis.ArrayBuffer = class {
      constructor() {
        throw new RangeError('Array buffer allocation failed')
      }
    }
    const { inSteps, afterCollect, before } = await release({ inSteps: true })
    globalThis.ArrayBuffer = ArrayBuffer
    print([inSteps, afterCollect > 0, before > 0])
    process.exit()`)
  expect(await child.next()).toEqual([false, true, true])
})

test('leaves the flags of V8 as they were, also if Node was started with them', async () => {
  // V8 rejects the cached data of a script if its flags are not those with which the data was made.
  const source = `${PROGRAM}
    import { Script } from 'node:vm'
    const before = new Script('1 + 1').createCachedData()
    await release({ inSteps: true })
    print(new Script('1 + 1', { cachedData: before }).cachedDataRejected)
    print((await release({ inSteps: true })).inSteps)`
  for (const args of [[], ['--optimize-for-size'], ['--no-optimize_for_size'], ['--lite-mode']]) {
    const child = new Child(source, { args })
    expect(await child.next()).toBe(false)
    expect(await child.next()).toBe(true)
    // Some versions of V8 print what --lite-mode turns off.
    expect(await child.ended).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^(Warning: disabling flag .*\n)*$/)
    })
  }
})

test('works in a worker thread that is terminated meanwhile', async () => {
  const child = new Child(`
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    const source = \`import('./packages/ebb/build/index.js').then(async ({ release }) => {
      const { parentPort } = await import('node:worker_threads')
      parentPort.postMessage((await release({ inSteps: true })).inSteps)
      const turn = () => release({ inSteps: true }).then(turn)
      turn()
      setInterval(() => {}, 1000)
    })\`
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(source, { eval: true })
      console.log(JSON.stringify((await once(worker, 'message'))[0]))
      await new Promise((resolve) => setTimeout(resolve, 17 * i))
      await worker.terminate()
    }`)
  for (let i = 0; i < 5; i++) expect(await child.next()).toBe(true)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('works if process.exit() is called meanwhile', async () => {
  for (const ms of [0, 3, 10, 35]) {
    const child = new Child(`${PROGRAM}
      const live = spike()
      void release({ inSteps: true }).then(() => live)
      setTimeout(() => process.exit(7), ${ms})`)
    expect(await child.ended).toMatchObject({ code: 7, stderr: '' })
  }
})
