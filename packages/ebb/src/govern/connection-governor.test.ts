import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Child } from '../../../../test/support/child.js'
import { clients, until } from '../../../../test/support/sockets.js'
import type { Release } from '../memory/release.js'
import type { Governor, GovernorOptions } from './connection-governor.js'

/** A governor of a process that has never given back: those of a process share the time of their acts. */
let create: (options?: GovernorOptions) => Governor

beforeEach(async () => {
  vi.resetModules()
  delete (globalThis as Record<symbol, unknown>)[Symbol.for('ebb.price.4')]
  const { Governor } = await import('./connection-governor.js')
  create = (options) => new Governor(options)
})

// An act that goes on is told to the next test's governor as well.
afterEach(async () => {
  const { underWay } = (globalThis as unknown as Record<symbol, { underWay?: { done: Promise<unknown> } }>)[
    Symbol.for('ebb.acts.2')
  ] ?? { underWay: undefined }
  await underWay?.done
})

/** A governor whose acts are kept, with the time of each. The whole of the time is its budget, unless it is told another. */
function observed(options: GovernorOptions = {}): {
  governor: Governor
  acts: { at: number; release: Release }[]
  crowd(size: number): void
} {
  const acts: { at: number; release: Release }[] = []
  const governor = create({
    budget: 1,
    ...options,
    onRelease: (release) => acts.push({ at: performance.now(), release })
  })
  onTestFinished(() => governor.stop())
  let size = 0
  return {
    governor,
    acts,
    crowd(wanted) {
      for (; size < wanted; size++) governor.joined()
      for (; size > wanted; size--) governor.left()
    }
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

/** Memory that an act can find: referred to until it is dropped. */
function weight(): unknown[] {
  return Array.from({ length: 20 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: `${i}` })))
}

describe('when', () => {
  test('after a fall by more than half', async () => {
    const { acts, crowd } = observed()
    crowd(1000)
    crowd(499)
    await until(() => acts.length === 1)
  })

  test('not after a smaller fall, nor while the crowd is there', async () => {
    const { acts, crowd } = observed()
    crowd(1000)
    crowd(500)
    crowd(900)
    crowd(500)
    await pause(600)
    expect(acts).toEqual([])
  })

  test('not when the crowd comes back at once', async () => {
    const { acts, crowd } = observed()
    crowd(1000)
    crowd(0)
    crowd(1000)
    await pause(600)
    expect(acts).toEqual([])
    // And when it goes for good:
    crowd(0)
    await until(() => acts.length === 1)
  })

  test('not for a few', async () => {
    const { acts, crowd } = observed()
    crowd(99)
    crowd(0)
    await pause(400)
    expect(acts).toEqual([])
    const few = observed({ least: 2 })
    few.crowd(2)
    few.crowd(0)
    await until(() => few.acts.length === 1)
  })

  test('a fall that goes on is waited for, but not for ever', async () => {
    const { acts, crowd } = observed()
    let size = 100_000
    crowd(size)
    size = 49_999
    crowd(size)
    const fall = setInterval(() => crowd(--size), 5)
    await until(() => acts.length === 1)
    clearInterval(fall)
    expect(size).toBeGreaterThan(0)
  })

  test('stop() forgets it', async () => {
    const { acts, crowd, governor } = observed()
    crowd(1000)
    crowd(0)
    governor.stop()
    await pause(400)
    expect(acts).toEqual([])
    crowd(1000)
    crowd(0)
    await until(() => acts.length === 1)
  })
})

describe('how often', () => {
  test('at most once a second, however often the crowd falls', async () => {
    const { acts, crowd } = observed()
    const held: unknown[] = []
    while (acts.length < 3) {
      held.push(weight())
      crowd(1000)
      crowd(0)
      await pause(150)
    }
    for (let i = 1; i < acts.length; i++) {
      const [earlier, later] = [acts[i - 1], acts[i]] as { at: number; release: Release }[]
      expect((later?.at ?? 0) - (later?.release.ms ?? 0) - (earlier?.at ?? 0)).toBeGreaterThan(990)
    }
    expect(held.length).toBeGreaterThan(3)
  })

  test('within its budget', async () => {
    // An act of 10 ms would have to wait 100 s for the next.
    const { acts, crowd } = observed({ budget: 0.0001 })
    crowd(1000)
    crowd(0)
    await until(() => acts.length === 1)
    const held = weight()
    for (let i = 0; i < 10; i++) {
      crowd(1000)
      crowd(0)
      await pause(200)
    }
    expect(acts).toHaveLength(1)
    expect(held.length).toBeGreaterThan(0)
  })

  test('not when there is nothing to gain: small pulses for ever', async () => {
    const { acts, crowd } = observed()
    crowd(1000)
    crowd(0)
    await until(() => acts.length === 1)
    await pause(1100)
    crowd(1000)
    crowd(0)
    await pause(400)
    expect(acts).toHaveLength(1)
  })

  test('again, when those have gone who held what the last act left', async () => {
    const { acts, crowd } = observed()
    let held: unknown[] | undefined = weight()
    crowd(1000)
    crowd(400)
    await until(() => acts.length === 1)
    expect(held.length).toBeGreaterThan(0)
    await pause(1100)
    // No more is held than after the last act, but it is garbage now.
    held = undefined
    crowd(0)
    await until(() => acts.length === 2)
    const [first, second] = acts.map(({ release }) => release) as [Release, Release]
    expect(second.afterTrim).toBeLessThan(first.afterTrim)
  })
})

describe('several in one process', () => {
  test('share the second, and warn of nothing', async () => {
    const warnings: Error[] = []
    const note = (warning: Error): void => void warnings.push(warning)
    process.on('warning', note)
    const all = Array.from({ length: 5 }, () => observed())
    for (const { crowd } of all) crowd(1000)
    for (const { crowd } of all) crowd(0)
    await until(() => all.some(({ acts }) => acts.length > 0))
    await pause(500)
    expect(all.flatMap(({ acts }) => acts)).toHaveLength(1)
    process.off('warning', note)
    expect(warnings).toEqual([])
  })

  test('one that falls during the act of another waits for it without a warning and without spinning', async () => {
    const child = new Child(`
      import { Governor } from 'ebb'
      process.on('warning', ({ message }) => console.log(JSON.stringify({ warning: message })))
      const crowd = (governor) => {
        for (let i = 0; i < 1000; i++) governor.joined()
        for (let i = 0; i < 1000; i++) governor.left()
      }
      // Memory enough for an act that takes longer than the look at a fall.
      globalThis.held = Array.from({ length: 200 }, () => Array.from({ length: 10_000 }, (_, i) => ({ i, text: String(i) })))
      const two = new Governor()
      // What governors wait for does not hold the process.
      setTimeout(() => process.exit(1), 50_000)
      crowd(new Governor({ onRelease: () => {
        console.log('"acted"')
        setTimeout(() => process.exit(), 1200)
      } }))
      // Its look comes while the other acts, or right after.
      setTimeout(() => crowd(two), 20)`)
    expect(await child.next()).toBe('acted')
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
    await expect(child.next()).rejects.toThrow('ended')
  })
})

test.each([0, -1, 1.01, Number.NaN, Number.POSITIVE_INFINITY])('a budget of %d cannot be', (budget) => {
  expect(() => create({ budget })).toThrow(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
  )
})

test('an act that fails is said, and does not end the process', async () => {
  vi.doMock('../memory/release.js', () => ({
    releaseUnheld: () => Promise.reject(new Error('no inspector')),
    onReleased: () => {}
  }))
  vi.resetModules()
  const { Governor } = await import('./connection-governor.js')
  const governor = new Governor()
  const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  for (let i = 0; i < 200; i++) governor.joined()
  for (let i = 0; i < 200; i++) governor.left()
  await until(() => warning.mock.calls.length > 0)
  expect(warning.mock.calls).toEqual([['giving memory back failed: no inspector', { code: 'EBB_RELEASE_FAILED' }]])
  warning.mockRestore()
  vi.doUnmock('../memory/release.js')
})

test('never holds the process open', async () => {
  const child = new Child(`
    import { Governor } from 'ebb'
    const governor = new Governor({ onRelease: () => console.log('"acted"') })
    for (let i = 0; i < 1000; i++) governor.joined()
    for (let i = 0; i < 1000; i++) governor.left()
    process.on('exit', () => console.log('"exit"'))`)
  expect(await child.next()).toBe('exit')
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('a listener’s crowd goes, and memory is given back by itself', async () => {
  const { listen } = await import('../listen/listener.js')
  const acts: Release[] = []
  const listener = listen({ port: 0, giveBack: { onRelease: (release) => acts.push(release) } })
  const sockets = await clients(listener.address, 300)
  await until(() => listener.clients === 300)
  expect(acts).toEqual([])
  for (const socket of sockets) socket.destroy()
  await until(() => acts.length === 1)
  await listener.close()
})
