/** A release disturbs nobody: profilers go on, and the permission model allows it. */
import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

/** Tells the id that heap snapshots give to an object. It is 0 after V8 has forgotten all ids. */
const SNAPSHOTS = `
  import { Session } from 'node:inspector/promises'
  globalThis.kept = {}
  const session = new Session()
  session.connect()
  session.on('HeapProfiler.addHeapSnapshotChunk', () => {})
  const snapshot = () => session.post('HeapProfiler.takeHeapSnapshot', { reportProgress: false })
  const id = async () => {
    const { result } = await session.post('Runtime.evaluate', { expression: 'kept' })
    return (await session.post('HeapProfiler.getHeapObjectId', { objectId: result.objectId })).heapSnapshotObjectId
  }
`
const PRINT = 'const print = (value) => console.log(JSON.stringify(value))\n'

test('ids of heap snapshots stay the same', async () => {
  const child = new Child(`${PRINT}${SNAPSHOTS}
    import { govern, release } from 'ebb'
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import { subscribe } from 'node:diagnostics_channel'
    // The inspector serves a worker that has not loaded ebb/auto.
    const worker = new Worker('setInterval(() => {}, 1000)', { eval: true })
    await once(worker, 'online')
    await snapshot()
    const first = await id()
    const seen = []
    for (const options of [{}, { inSteps: true }, { workers: true }, { inSteps: true, workers: true }, {}]) {
      await release(options)
      seen.push((await id()) === first)
    }
    govern({ signal: 'SIGWINCH', pressure: false })
    const released = new Promise((resolve) => subscribe('ebb:release', resolve))
    process.kill(process.pid, 'SIGWINCH')
    await released
    await snapshot()
    print([...seen, (await id()) === first])
    process.exit()`)
  expect(await child.next()).toEqual([true, true, true, true, true, true])
})

test('allocation tracking, the sampling heap profiler, coverage and the CPU profiler go on', async () => {
  const child = new Child(`${PRINT}
    import { Session } from 'node:inspector/promises'
    import { release } from 'ebb'
    const session = new Session()
    session.connect()
    let updates = 0
    session.on('HeapProfiler.heapStatsUpdate', () => updates++)
    await session.post('Profiler.enable')
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
    await session.post('Profiler.start')
    await session.post('HeapProfiler.startSampling', { samplingInterval: 64 })
    await session.post('HeapProfiler.startTrackingHeapObjects', { trackAllocations: true })
    await release()
    await release({ inSteps: true, workers: true })
    const before = updates
    function afterRelease() {
      return Array.from({ length: 10_000 }, (_, i) => ({ i }))
    }
    globalThis.held = afterRelease()
    // Statistics are sent 20 times a second.
    while (updates === before) await new Promise((resolve) => setTimeout(resolve, 20))
    print('tracks')
    const { profile } = await session.post('HeapProfiler.stopSampling')
    const names = (node) => [node.callFrame.functionName, ...node.children.flatMap(names)]
    print(names(profile.head).includes('afterRelease'))
    const { result } = await session.post('Profiler.takePreciseCoverage')
    const functions = result.flatMap(({ functions }) => functions)
    print(functions.find(({ functionName }) => functionName === 'afterRelease').ranges[0].count)
    print((await session.post('Profiler.stop')).profile.nodes.length > 0)
    process.exit()`)
  expect(await child.next()).toBe('tracks')
  expect(await child.next()).toBe(true)
  expect(await child.next()).toBe(1)
  expect(await child.next()).toBe(true)
})

/** Worker threads that drop 30 MB when told to, and tell what they hold. */
const WORKER = `
  import { parentPort } from 'node:worker_threads'
  import v8 from 'node:v8'
  let held = Array.from({ length: 30 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
  parentPort.on('message', (what) => {
    if (what === 'drop') held = undefined
    parentPort.postMessage(v8.getHeapStatistics().total_physical_size)
  })
  parentPort.postMessage(0)
`
const WITH_WORKERS = `${PRINT}
  import { once } from 'node:events'
  import { Worker } from 'node:worker_threads'
  import { release } from 'ebb'
  const ask = async (worker, what) => {
    worker.postMessage(what)
    return (await once(worker, 'message'))[0]
  }
  const start = async () => {
    const worker = new Worker(${JSON.stringify(WORKER)}, { eval: true })
    await once(worker, 'message')
    return worker
  }
`

test('worker threads that loaded ebb/auto collect in steps, without the inspector', async () => {
  const child = new Child(
    `${WITH_WORKERS}
    const workers = [await start(), await start()]
    const before = await Promise.all(workers.map((worker) => ask(worker, 'drop')))
    const done = await release({ workers: true, inSteps: true })
    const after = await Promise.all(workers.map((worker) => ask(worker, 'size')))
    await workers[0].terminate()
    const { ms, workers: left } = await release({ workers: true, inSteps: true })
    print([done.workers, before.map((size, i) => after[i] < size / 2), left, ms < 1900])
    await workers[1].terminate()`,
    { args: ['--import', 'ebb/auto'] }
  )
  expect(await child.next()).toEqual([2, [true, true], 1, true])
})

const PERMISSION = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission'

test.each([
  [false, []],
  [true, ['--allow-addons']],
  [false, ['--allow-worker']],
  [true, ['--allow-addons', '--allow-worker']]
])('works under the permission model: koffi %s, %j', async (hasKoffi, allowed) => {
  const child = new Child(
    `${WITH_WORKERS}
    process.on('warning', ({ code, message }) => {
      if (code?.startsWith('EBB_')) print([code, /V8's garbage.*malloc.*pressure.*koffi/.test(message)])
    })
    import { govern } from 'ebb'
    govern({ every: 100 })
    let held = Array.from({ length: 40 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
    held = undefined
    const gone = []
    for (const options of [{}, { inSteps: true }, { workers: true }, { inSteps: true, workers: true }]) {
      const { before, afterTrim, allocator } = await release(options)
      gone.push(before - afterTrim)
    }
    print(Math.max(...gone) > 10e6)
    process.exit()`,
    { args: [PERMISSION, '--allow-fs-read=*', ...allowed] }
  )
  if (!hasKoffi) expect(await child.next()).toEqual(['EBB_UNSUPPORTED', true])
  expect(await child.next()).toBe(true)
  expect((await child.ended).code).toBe(0)
})

test('ebb/auto under the permission model: worker threads collect, too', async () => {
  const child = new Child(
    `${WITH_WORKERS}
    const worker = await start()
    const before = await ask(worker, 'drop')
    const { workers } = await release({ workers: true })
    print([workers, (await ask(worker, 'size')) < before / 2])
    process.exit()`,
    { args: [PERMISSION, '--allow-fs-read=*', '--allow-worker', '--import', 'ebb/auto'] }
  )
  expect(await child.next()).toEqual([1, true])
})
