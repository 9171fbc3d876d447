import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

/** Counts the page faults of 100 buffers of 5 MB, each filled and freed before the next. */
const PROGRAM = `
  import { MessageChannel } from 'node:worker_threads'
  import { release } from './packages/ebb/build/index.js'
  import { tuneAllocator, watchFaults } from './packages/ebb/build/memory/thresholds.js'
  const print = (value) => console.log(JSON.stringify(value))
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
  const { port1 } = new MessageChannel()
  port1.close()
  const buffers = (size = 5_000_000) => {
    const before = process.resourceUsage().minorPageFault
    for (let i = 0; i < 100; i++) {
      const buffer = new ArrayBuffer(size)
      new Uint8Array(buffer).fill(1)
      // A message to a closed port frees the buffer.
      port1.postMessage(undefined, [buffer])
    }
    return process.resourceUsage().minorPageFault - before
  }
  // Too many page faults, until freed memory is kept. On a busy machine, an interval may have too few.
  const busy = async (most = 100) => {
    const low = buffers()
    for (let i = 0; i < most && buffers() > low / 10; i++) {
      watchFaults()
      await pause(110)
    }
  }
`

const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
const glibc = report.header.glibcVersionRuntime !== undefined && process.env.LD_PRELOAD === undefined

test.skipIf(!glibc)(
  'keeps freed memory of large buffers while there are many page faults, until the next release',
  async () => {
    const child = new Child(`${PROGRAM}
    tuneAllocator({ timer: false })
    const low = buffers()
    await busy()
    const high = buffers()
    await release()
    // Larger buffers: a buffer of 5 MB may find free memory in the middle of the heap.
    const pages = (100 * 20_000_000) / 4096
    print([low > 10 * high, buffers(20_000_000) > pages / 2])`)
    expect(await child.next()).toEqual([true, true])
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  }
)

/** Contexts of zlib, which are allocated by the threads of libuv's pool, each in a heap of its own. */
const CONTEXTS = `
  import zlib from 'node:zlib'
  import { readFileSync } from 'node:fs'
  const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status'))[1]) * 1024
  const contexts = (count) =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const context = zlib.createDeflateRaw().on('data', () => {})
        context.write('text')
        await new Promise((resolve) => context.flush(resolve))
        return context
      })
    )
  /** Makes and closes 400 contexts. Returns a function for the share of their memory that is kept. */
  const spike = async () => {
    const rest = anonymous()
    const all = await contexts(400)
    const peak = anonymous()
    for (const context of all) context.close()
    return () => (anonymous() - rest) / (peak - rest)
  }
`

test.skipIf(!glibc)('growth is no reason to keep freed memory, not even of the threads of the pool', async () => {
  const child = new Child(`${PROGRAM}${CONTEXTS}
    tuneAllocator({ timer: false })
    const rest = anonymous()
    const all = []
    for (let i = 0; i < 4; i++) {
      all.push(...(await contexts(100)))
      await pause(110)
      watchFaults()
    }
    const peak = anonymous()
    for (const context of all.splice(0)) context.close()
    print((anonymous() - rest) / (peak - rest))
    process.exit()`)
  expect(await child.next()).toBeLessThan(0.3)
})

test.skipIf(!glibc)('what the threads of the pool have kept is returned by a release', async () => {
  const child = new Child(`${PROGRAM}${CONTEXTS}
    tuneAllocator({ timer: false })
    await busy()
    const share = await spike()
    const kept = share()
    await release()
    print([kept, share()])
    process.exit()`)
  const [kept, released] = await child.next<[number, number]>()
  expect(kept).toBeGreaterThan(0.5)
  expect(released).toBeLessThan(0.3)
})

test.skipIf(!glibc)('and when the work is over, without a release', async () => {
  const child = new Child(`${PROGRAM}${CONTEXTS}
    tuneAllocator({ timer: false })
    await busy()
    const share = await spike()
    // The window that held the work, and those after it.
    for (let i = 0; i < 100 && share() > 0.3; i++) {
      await pause(110)
      watchFaults()
    }
    print(share())
    process.exit()`)
  expect(await child.next()).toBeLessThan(0.3)
})

test.skipIf(!glibc)('counts page faults with a timer, which does not hold the process open', async () => {
  const child = new Child(`${PROGRAM}
    tuneAllocator({ timer: true })
    const low = buffers()
    let high = low
    for (let i = 0; i < 100 && high > low / 10; i++) {
      await pause(50)
      high = buffers()
    }
    print(low > 10 * high)`)
  expect(await child.next()).toBe(true)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test.skipIf(!glibc)('a few page faults change nothing', async () => {
  const child = new Child(`${PROGRAM}
    await pause(110)
    tuneAllocator({ timer: false })
    for (let i = 0; i < 3; i++) {
      await pause(110)
      watchFaults()
    }
    const low = buffers()
    await busy()
    print(low > 10 * buffers())`)
  expect(await child.next()).toBe(true)
})

test.skipIf(!glibc).each(['MALLOC_MMAP_THRESHOLD_=131072', 'GLIBC_TUNABLES=glibc.malloc.mmap_threshold=131072'])(
  'does not change thresholds that the environment sets: %s',
  async (variable) => {
    const child = new Child(
      `${PROGRAM}
    tuneAllocator({ timer: false })
    const low = buffers()
    await busy(4)
    print(2 * buffers() > low)`,
      { shell: `export ${variable}` }
    )
    expect(await child.next()).toBe(true)
  }
)
