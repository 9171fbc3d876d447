import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
const glibc = report.header.glibcVersionRuntime !== undefined && process.env.LD_PRELOAD === undefined

/** Makes 90 MB of free blocks of 15 KB in the main arena, each between blocks in use. */
const PROGRAM = `
  import { MessageChannel } from 'node:worker_threads'
  import { readFileSync } from 'node:fs'
  import { release } from './packages/ebb/build/index.js'
  import { MainArenaTrim } from './packages/ebb/build/sys/main-arena.js'
  import { trimGlibc } from './packages/ebb/build/sys/malloc.js'
  const print = (value) => console.log(JSON.stringify(value))
  const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status'))[1]) * 1024
  const { port1 } = new MessageChannel()
  port1.close()
  const kept = []
  const makeHoles = () => {
    const gone = []
    for (let i = 0; i < 6000; i++) {
      gone.push(Buffer.allocUnsafeSlow(15_000).fill(1))
      kept.push(Buffer.allocUnsafeSlow(2000).fill(1))
    }
    // A message to a closed port frees the buffer at once.
    for (const { buffer } of gone) port1.postMessage(undefined, [buffer])
  }
`

test.skipIf(!glibc)(
  'returns pages of the main arena in steps, nearly as many as malloc_trim, and keeps no block',
  async () => {
    const child = new Child(`${PROGRAM}
    makeHoles()
    const before = anonymous()
    const arena = new MainArenaTrim(4096)
    let steps = 1
    while (arena.empty(0.5)) steps++
    const { blocks } = arena
    const emptied = before - anonymous()
    while (arena.free(0.5));
    trimGlibc()
    print({ steps, blocks, left: arena.blocks, share: emptied / (before - anonymous()) })
    // The blocks can be used again.
    for (let i = 0; i < 4000; i++) kept.push(Buffer.allocUnsafeSlow(12_000).fill(2))
    print(kept.every((buffer) => buffer[0] === buffer[buffer.length - 1] && buffer[0] > 0))`)
    const { steps, blocks, left, share } = await child.next<Record<string, number>>()
    expect(steps).toBeGreaterThan(5)
    expect(blocks).toBeGreaterThan(5000)
    expect(left).toBe(0)
    expect(share).toBeGreaterThan(0.8)
    expect(await child.next()).toBe(true)
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  }
)

test.skipIf(!glibc)('the program runs while a release trims', async () => {
  const child = new Child(`${PROGRAM}
    makeHoles()
    let turns = 0
    const count = () => {
      turns++
      setImmediate(count).unref()
    }
    count()
    const before = anonymous()
    const { trimPauseMs, pauseMs, afterTrim } = await release({ inSteps: true })
    print([before - afterTrim > 45e6, trimPauseMs <= pauseMs, turns > 10])
    // Again, with nothing to return.
    await release({ inSteps: true })
    print('again')`)
  expect(await child.next()).toEqual([true, true, true])
  expect(await child.next()).toBe('again')
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test.skipIf(!glibc)('memory outside of the heap counts for the expected pause of a release', async () => {
  const child = new Child(`${PROGRAM}
    import { expectedTrimPause } from './packages/ebb/build/memory/return-pages.js'
    const small = expectedTrimPause()
    makeHoles()
    print([small, expectedTrimPause() > small])`)
  expect(await child.next()).toEqual([0, true])
})

test.skipIf(!glibc).each([40, 60, 90, 150])('process.exit() %i ms after a release of much memory began', async (ms) => {
  const child = new Child(`${PROGRAM}
    makeHoles()
    void release({ inSteps: true })
    setTimeout(() => process.exit(7), ${ms})`)
  expect(await child.ended).toMatchObject({ code: 7, stderr: '' })
})
