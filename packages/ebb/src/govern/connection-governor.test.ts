import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { clients, until } from '../../../../test/support/sockets.js'
import type { Release } from '../memory/release.js'
import type { ConnectionGovernor, GovernorOptions } from './connection-governor.js'

/** Creates a governor with a fresh cost model, as in a process that has never released memory. */
let create: (options?: GovernorOptions) => ConnectionGovernor

beforeEach(async () => {
  vi.resetModules()
  delete (globalThis as Record<symbol, unknown>)[Symbol.for('ebb.cost-model.2')]
  const { ConnectionGovernor } = await import('./connection-governor.js')
  create = (options) => new ConnectionGovernor(options)
})

// The governor of the next test would hear of a release that is still under way.
afterEach(async () => {
  const { underWay } = (globalThis as unknown as Record<symbol, { underWay?: { done: Promise<unknown> } }>)[
    Symbol.for('ebb.releases.2')
  ] ?? { underWay: undefined }
  await underWay?.done
})

/**
 * A governor whose releases are recorded, with the time of each. Its budget is 100 % unless `options` say otherwise.
 */
function observed(options: GovernorOptions = {}): {
  governor: ConnectionGovernor
  releases: { at: number; release: Release }[]
  crowd(size: number): void
} {
  const releases: { at: number; release: Release }[] = []
  const governor = create({
    budget: 1,
    ...options,
    onRelease: (release) => releases.push({ at: performance.now(), release })
  })
  onTestFinished(() => governor.stop())
  let size = 0
  return {
    governor,
    releases,
    crowd(wanted) {
      for (; size < wanted; size++) governor.joined()
      for (; size > wanted; size--) governor.left()
    }
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

/** Memory that a release can return once the caller drops it. */
function weight(): unknown[] {
  return Array.from({ length: 20 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: `${i}` })))
}

describe('the fall', () => {
  test('a fall to less than half causes a release', async () => {
    const { releases, crowd } = observed()
    crowd(1000)
    crowd(499)
    await until(() => releases.length === 1)
  })

  test('a smaller fall does not, nor does a crowd that stays', async () => {
    const { releases, crowd } = observed()
    crowd(1000)
    crowd(500)
    crowd(900)
    crowd(500)
    await pause(600)
    expect(releases).toEqual([])
  })

  test('a crowd that comes back at once prevents the release', async () => {
    const { releases, crowd } = observed()
    crowd(1000)
    crowd(0)
    crowd(1000)
    await pause(600)
    expect(releases).toEqual([])
    // Now it goes for good.
    crowd(0)
    await until(() => releases.length === 1)
  })

  test('fewer clients than `least` are no crowd', async () => {
    const { releases, crowd } = observed()
    crowd(99)
    crowd(0)
    await pause(400)
    expect(releases).toEqual([])
    const few = observed({ least: 2 })
    few.crowd(2)
    few.crowd(0)
    await until(() => few.releases.length === 1)
  })

  test('waits for the end of a fall, but not for ever', async () => {
    const { releases, crowd } = observed()
    let size = 100_000
    crowd(size)
    size = 49_999
    crowd(size)
    const fall = setInterval(() => crowd(--size), 5)
    await until(() => releases.length === 1)
    clearInterval(fall)
    expect(size).toBeGreaterThan(0)
  })

  test('stop() cancels the release', async () => {
    const { releases, crowd, governor } = observed()
    crowd(1000)
    crowd(0)
    governor.stop()
    await pause(400)
    expect(releases).toEqual([])
    crowd(1000)
    crowd(0)
    await until(() => releases.length === 1)
  })
})

describe('the frequency', () => {
  test('releases at most once a second, however often the crowd falls', async () => {
    const { releases, crowd } = observed()
    const held: unknown[] = []
    while (releases.length < 3) {
      held.push(weight())
      crowd(1000)
      crowd(0)
      await pause(150)
    }
    for (let i = 1; i < releases.length; i++) {
      const [earlier, later] = [releases[i - 1], releases[i]] as { at: number; release: Release }[]
      expect((later?.at ?? 0) - (later?.release.ms ?? 0) - (earlier?.at ?? 0)).toBeGreaterThan(990)
    }
    expect(held.length).toBeGreaterThan(3)
  })

  test('stays within its budget', async () => {
    // After a release of 10 ms the next must wait for 100 s.
    const { releases, crowd } = observed({ budget: 0.0001 })
    crowd(1000)
    crowd(0)
    await until(() => releases.length === 1)
    const held = weight()
    for (let i = 0; i < 10; i++) {
      crowd(1000)
      crowd(0)
      await pause(200)
    }
    expect(releases).toHaveLength(1)
    expect(held.length).toBeGreaterThan(0)
  })

  test('does not release when there is nothing to gain: small pulses for ever', async () => {
    // The test runs beside it in this process, and allocates, too.
    const { releases, crowd } = observed({ worth: 1_000_000 })
    crowd(1000)
    crowd(0)
    await until(() => releases.length === 1)
    await pause(1100)
    crowd(1000)
    crowd(0)
    await pause(400)
    expect(releases).toHaveLength(1)
  })

  test('releases again when the clients have left that held the remaining memory', async () => {
    const { releases, crowd } = observed()
    let held: unknown[] | undefined = weight()
    crowd(1000)
    crowd(400)
    await until(() => releases.length === 1)
    expect(held.length).toBeGreaterThan(0)
    await pause(1100)
    // The process holds no more than after the last release, but now it is garbage.
    held = undefined
    crowd(0)
    await until(() => releases.length === 2)
    const [first, second] = releases.map(({ release }) => release) as [Release, Release]
    expect(second.afterTrim).toBeLessThan(first.afterTrim)
  })
})

describe('several governors in a process', () => {
  test('release once between them, and emit no warning', async () => {
    const warnings: Error[] = []
    const note = (warning: Error): void => void warnings.push(warning)
    process.on('warning', note)
    const all = Array.from({ length: 5 }, () => observed())
    for (const { crowd } of all) crowd(1000)
    for (const { crowd } of all) crowd(0)
    await until(() => all.some(({ releases }) => releases.length > 0))
    await pause(500)
    expect(all.flatMap(({ releases }) => releases)).toHaveLength(1)
    process.off('warning', note)
    expect(warnings).toEqual([])
  })

  test('a fall during the release of another governor waits for it, without a warning or a busy loop', async () => {
    const child = new Child(`
      import { Governor } from 'ebb'
      process.on('warning', ({ message }) => console.log(JSON.stringify({ warning: message })))
      const crowd = (governor) => {
        for (let i = 0; i < 1000; i++) governor.joined()
        for (let i = 0; i < 1000; i++) governor.left()
      }
      // Enough memory for a release that takes longer than the wait for the end of a fall.
      const object = (_, i) => ({ i, text: String(i) })
      globalThis.held = Array.from({ length: 200 }, () => Array.from({ length: 10_000 }, object))
      const two = new Governor()
      // Timers of governors do not hold the process open.
      setTimeout(() => process.exit(1), 50_000)
      crowd(new Governor({ onRelease: () => {
        console.log('"released"')
        setTimeout(() => process.exit(), 1200)
      } }))
      // Its fall ends while the other releases memory, or right after.
      setTimeout(() => crowd(two), 20)`)
    expect(await child.next()).toBe('released')
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
    await expect(child.next()).rejects.toThrow('ended')
  })
})

test.each([0, -1, 1.01, Number.NaN, Number.POSITIVE_INFINITY])('a budget of %d is invalid', (budget) => {
  expect(() => create({ budget })).toThrow(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
  )
})

test('a release that fails is a warning, and does not end the process', async () => {
  vi.doMock('../memory/release.js', () => ({
    releaseUnheld: () => Promise.reject(new Error('no inspector')),
    onReleased: () => {}
  }))
  vi.resetModules()
  const { ConnectionGovernor } = await import('./connection-governor.js')
  const governor = new ConnectionGovernor()
  const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  for (let i = 0; i < 200; i++) governor.joined()
  for (let i = 0; i < 200; i++) governor.left()
  await until(() => warning.mock.calls.length > 0)
  expect(warning.mock.calls).toEqual([['ebb could not release memory: no inspector', { code: 'EBB_RELEASE_FAILED' }]])
  warning.mockRestore()
  vi.doUnmock('../memory/release.js')
})

describe('after the start', () => {
  const START = `
    import { createConnection } from 'node:net'
    import { listen, release } from 'ebb'
    const releases = []
    const server = (name, options) =>
      listen({ port: 0, ...options, giveBack: { onRelease: ({ before, afterTrim }) => {
        releases.push(name)
        console.log(JSON.stringify({ name, returned: before - afterTrim }))
      } } })
    const later = () => setTimeout(() => {
      console.log(JSON.stringify(releases))
      process.exit()
    }, 1200)
  `

  test('the garbage of loading is released once, by the first governor', async () => {
    const child = new Child(`${START}; server('one'); server('two'); later()`)
    const { name, returned } = await child.next<{ name: string; returned: number }>()
    expect(name).toBe('one')
    // What 'ebb serve' would otherwise keep until a spike has gone: 2 MB and more. Half of it is not noise.
    expect(returned).toBeGreaterThan(1_000_000)
    expect(await child.next()).toEqual(['one'])
  })

  test.each([
    ['a client is there', `createConnection(server('one').address.port).on('connect', later)`],
    ['the program has released memory itself', `server('one'); await release(); later()`],
    ['the heap is large', `globalThis.kept = Array.from({ length: 2e6 }, (_, i) => ({ i })); server('one'); later()`]
  ])('nothing is released if %s', async (_, program) => {
    expect(await new Child(`${START}; ${program}`).next()).toEqual([])
  })

  test('a worker thread leaves the memory of the process alone', async () => {
    const child = new Child(`
      import { Worker } from 'node:worker_threads'
      const source = \`import('ebb').then(({ listen }) => {
        listen({ port: 0, giveBack: { onRelease: () => console.log('"released"') } })
        setTimeout(() => { console.log('"later"'); process.exit() }, 1200)
      })\`
      new Worker(source, { eval: true })`)
    expect(await child.next()).toBe('later')
  })
})

describe('after a rise', () => {
  const RISE = `
    import { Governor, release } from 'ebb'
    let clients = 0
    const governor = new Governor({ budget: 1, onRelease: () => console.log(clients) })
    const join = (n) => { for (; clients < n; clients++) governor.joined() }
    const object = (_, i) => ({ i, text: String(i) })
    // Timers of governors do not hold the process open.
    setInterval(() => {}, 1000)
    // Garbage of 4 MB.
    const garbage = () => Buffer.concat(Array.from({ length: 100 }, () => Buffer.alloc(20_000, 1))).length
    const exitLater = () => setTimeout(() => { console.log('"later"'); process.exit() }, 800)
    await release()
  `

  test('the garbage of the arrival is released while the crowd is there', async () => {
    expect(await new Child(`${RISE}; garbage(); join(1000)`).next()).toBe(1000)
  })

  test('not before the crowd has stopped growing', async () => {
    const child = new Child(`${RISE}; garbage(); join(1000)
      const growth = setInterval(() => {
        join(clients + 1)
        if (clients === 1040) clearInterval(growth)
      }, 20)`)
    expect(await child.next()).toBe(1040)
  })

  test.each([
    ['the crowd is small', 'garbage(); join(999)'],
    ['there is little to gain', 'join(1000)'],
    ['the heap is large', 'globalThis.kept = Array.from({ length: 5e5 }, object); join(1000)'],
    ['clients leave', 'garbage(); join(1000); for (let i = 0; i < 11; i++) governor.left()'],
    ['the governor is stopped', 'garbage(); join(1000); governor.stop()']
  ])('nothing is released if %s', async (_, program) => {
    expect(await new Child(`${RISE}; ${program}; exitLater()`).next()).toBe('later')
  })
})

test('never holds the process open', async () => {
  const child = new Child(`
    import { Governor } from 'ebb'
    const governor = new Governor({ onRelease: () => console.log('"released"') })
    for (let i = 0; i < 1000; i++) governor.joined()
    for (let i = 0; i < 1000; i++) governor.left()
    process.on('exit', () => console.log('"exit"'))`)
  expect(await child.next()).toBe('exit')
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('a listener releases memory when its crowd has gone', async () => {
  const { listen } = await import('../listen/listen.js')
  const releases: Release[] = []
  const listener = listen({ port: 0, giveBack: { onRelease: (release) => releases.push(release) } })
  const sockets = await clients(listener.address, 300)
  await until(() => listener.clients === 300)
  expect(releases).toEqual([])
  for (const socket of sockets) socket.destroy()
  await until(() => releases.length === 1)
  await listener.close()
})
