import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { allocator } from './allocator.js'

const FOLDERS = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib', '/usr/local/lib']

/** Finds a shared library of this machine to preload. */
function library(name: RegExp): string | undefined {
  for (const folder of FOLDERS) {
    try {
      const file = readdirSync(folder).find((file) => name.test(file))
      if (file !== undefined) return join(folder, file)
    } catch {
      // Not every system has each of them.
    }
  }
  return undefined
}

/** Allocates 64 MB with `malloc`, frees all but a few pieces between, and releases memory. */
const PROGRAM = `
  import { release } from 'ebb'
  // Each buffer has memory of its own, which V8 frees with free().
  const pieces = Array.from({ length: 4000 }, () => Buffer.allocUnsafeSlow(16_000).fill(1))
  const { afterTrim: full } = await release()
  for (let i = 0; i < pieces.length; i++) if (i % 1000 !== 0) pieces[i] = undefined
  // V8 frees them on another thread, which may not have finished at the first trim.
  let done
  for (let i = 0; i < 5; i++) {
    done = await release()
    if (full - done.afterTrim > 32e6) break
  }
  globalThis.pieces = pieces
  console.log(JSON.stringify({ allocator: done.allocator, gone: full - done.afterTrim }))`

const PRELOADED = [
  ['jemalloc', library(/^libjemalloc\.so/)],
  ['mimalloc', library(/^libmimalloc\.so/)],
  ['tcmalloc', library(/^libtcmalloc_minimal\.so/)]
] as const

for (const [name, file] of PRELOADED) {
  test.skipIf(file === undefined)(`preloaded: ${name}`, async () => {
    const child = new Child(PROGRAM, { shell: `export LD_PRELOAD=${file}` })
    const { allocator, gone } = await child.next<{ allocator: string; gone: number }>()
    expect(allocator).toBe(name)
    // Of 64 MB. mimalloc keeps most memory that another thread than its own has freed, and V8 frees on other threads.
    expect(gone).toBeGreaterThan(name === 'mimalloc' ? 0 : 16e6)
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })

  test.skipIf(file === undefined)(`preloaded: ${name}, with a governor and worker threads`, async () => {
    const child = new Child(
      `
      import { Worker } from 'node:worker_threads'
      import { govern, release } from 'ebb'
      govern()
      const source = \`
        import { parentPort } from 'node:worker_threads'
        parentPort.postMessage(1)
        setInterval(() => {}, 1000)\`
      const worker = new Worker(source, { eval: true })
      await new Promise((resolve) => worker.once('message', resolve))
      const done = await release({ workers: true })
      await worker.terminate()
      console.log(JSON.stringify({ allocator: done.allocator, workers: done.workers }))`,
      { shell: `export LD_PRELOAD=${file}` }
    )
    expect(await child.next()).toEqual({ allocator: name, workers: 1 })
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
  })
}

const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
const glibc = report.header.glibcVersionRuntime !== undefined && process.env.LD_PRELOAD === undefined

test.skipIf(!glibc)('glibc', async () => {
  expect(allocator()).toEqual({ name: 'glibc', purge: expect.any(Function) })
  expect(allocator()).toBe(allocator())
  const child = new Child(PROGRAM)
  const { allocator: name, gone } = await child.next<{ allocator: string; gone: number }>()
  expect(name).toBe('glibc')
  expect(gone).toBeGreaterThan(16e6)
})
