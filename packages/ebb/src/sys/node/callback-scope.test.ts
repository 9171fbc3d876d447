import { AsyncLocalStorage, createHook, executionAsyncId, executionAsyncResource } from 'node:async_hooks'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Child } from '../../../../../test/support/child.js'
import { CallbackScopes, outside, runBatch, runEvent } from './callback-scope.js'

let log: unknown[] = []
let uncaught: unknown[] = []
let others: NodeJS.UncaughtExceptionListener[] = []
const onUncaught = (error: Error): void => {
  uncaught.push(error.message)
  log.push(error.message)
}
// Vitest's own listener would fail the test.
beforeEach(() => {
  log = []
  uncaught = []
  others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', onUncaught)
})
afterEach(() => {
  process.removeAllListeners('uncaughtException')
  for (const other of others) process.on('uncaughtException', other)
})

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Logs that a callback begins and ends, and its ticks and microtasks. */
function busy(name: string): void {
  process.nextTick(() => log.push(`${name} tick`))
  void Promise.resolve().then(() => log.push(`${name} microtask`))
  log.push(`${name} begins`)
  process.nextTick(() => log.push(`${name} second tick`))
  log.push(`${name} ends`)
}
const whole = (name: string) => ['begins', 'ends', 'tick', 'second tick', 'microtask'].map((what) => `${name} ${what}`)

test('ticks and microtasks run after the whole callback, and before the next one', async () => {
  const scopes = new CallbackScopes()
  setImmediate(() =>
    runBatch(() => {
      for (const name of ['a', 'b', 'c']) scopes.run(scopes.id(0), busy, undefined, name)
      log.push('batch ends')
    })
  )
  await turn()
  await turn()
  expect(log).toEqual([...whole('a'), ...whole('b'), ...whole('c'), 'batch ends'])
})

test('a callback within a callback runs its ticks after the outer one', async () => {
  const scopes = new CallbackScopes()
  setImmediate(() =>
    runBatch(() => {
      scopes.run(
        scopes.id(0),
        () => {
          scopes.run(scopes.id(1), busy, undefined, 'inner')
          log.push('outer ends')
        },
        undefined
      )
      scopes.run(scopes.id(2), busy, undefined, 'next')
    })
  )
  await turn()
  await turn()
  expect(log).toEqual([...whole('inner').toSpliced(2, 0, 'outer ends'), ...whole('next')])
})

test('an exception is reported at once, in the context of its callback, and the batch goes on', async () => {
  const scopes = new CallbackScopes()
  const ids = [scopes.id(0), scopes.id(1)]
  process.on('uncaughtException', () => log.push(executionAsyncId()))
  setImmediate(() =>
    runBatch(() => {
      for (const id of ids) {
        scopes.run(
          id,
          () => {
            process.nextTick(() => log.push('tick'))
            throw new Error(`of ${id}`)
          },
          undefined
        )
      }
    })
  )
  await turn()
  await turn()
  expect(log).toEqual(ids.flatMap((id) => [`of ${id}`, id, 'tick']))
})

test('exceptions of ticks, microtasks and events do not stop the batch', async () => {
  const scopes = new CallbackScopes()
  const fail = (what: string) => () => {
    throw new Error(what)
  }
  setImmediate(() =>
    runBatch(() => {
      scopes.run(
        scopes.id(0),
        () => {
          process.nextTick(fail('tick'))
          queueMicrotask(fail('microtask'))
          process.nextTick(fail('second tick'))
        },
        undefined
      )
      runEvent(fail('event'), undefined, 0, 0)
      scopes.run(scopes.id(1), () => log.push('next'), undefined)
    })
  )
  await turn()
  await turn()
  expect(log.toSorted()).toEqual(['event', 'microtask', 'next', 'second tick', 'tick'])
  expect(log.at(-1)).toBe('next')
})

test('an exception of a callback that the program caused is not thrown at it, and is reported afterwards', async () => {
  const scopes = new CallbackScopes()
  const result = scopes.run(
    scopes.id(0),
    () => {
      throw new Error('mine')
    },
    undefined
  )
  log.push('caller goes on')
  expect(result).toBe(undefined)
  await turn()
  expect(log).toEqual(['caller goes on', 'mine'])
})

test('the context of a connection is empty, and has its async id, whoever makes it and whoever calls', () => {
  const storage = new AsyncLocalStorage<string>()
  const scopes = storage.run('maker', () => new CallbackScopes())
  const seen: unknown[] = []
  const look = (): void => {
    seen.push(storage.getStore())
    storage.enterWith('entered')
    const resource = executionAsyncResource() as { mark?: boolean }
    expect(resource.mark).toBe(undefined)
    resource.mark = true
  }
  storage.run('caller', () => {
    const id = scopes.id(7)
    expect(scopes.id(7)).toBe(id)
    for (let i = 0; i < 3; i++) {
      scopes.run(id, look, undefined)
      scopes.run(scopes.id(8), look, undefined)
      scopes.runForServer(look, undefined)
      outside(look)
    }
    scopes.run(id, () => expect(executionAsyncId()).toBe(id), undefined)
    expect(storage.getStore()).toBe('caller')
  })
  expect(new Set(seen)).toEqual(new Set([undefined]))
  expect(seen).toHaveLength(12)
})

test('async_hooks see one resource for a connection: init, before and after, destroy', async () => {
  const events: string[] = []
  const types = new Map<number, string>()
  const hook = createHook({
    init(id, type, trigger) {
      if (!type.startsWith('EBB')) return
      types.set(id, type)
      events.push(`init ${type} by ${types.get(trigger) ?? trigger} in ${executionAsyncId()}`)
    },
    before: (id) => types.has(id) && events.push(`before ${types.get(id)}`),
    after: (id) => types.has(id) && events.push(`after ${types.get(id)}`),
    destroy: (id) => types.has(id) && events.push(`destroy ${types.get(id)}`)
  }).enable()
  const scopes = new CallbackScopes()
  scopes.run(scopes.id(3), () => {}, undefined)
  const id = scopes.id(3)
  scopes.end(3)
  scopes.end(3)
  scopes.run(id, () => {}, undefined)
  await turn()
  await turn()
  hook.disable()
  expect(scopes.id(3)).not.toBe(id)
  expect(events).toEqual([
    'init EBBSERVER by 1 in 1',
    'init EBBCONNECTION by EBBSERVER in 1',
    ...Array(2).fill(['before EBBCONNECTION', 'after EBBCONNECTION']).flat(),
    'destroy EBBCONNECTION'
  ])
})

test('trim() keeps the ids below its end', () => {
  const scopes = new CallbackScopes()
  const low = scopes.id(5)
  scopes.id(9000)
  scopes.end(9000)
  const before = scopes.bytes
  scopes.trim(6)
  expect(scopes.bytes).toBeLessThan(before)
  expect(scopes.id(5)).toBe(low)
})

test('nobody handles the exception: the process ends as with plain Node, before ticks', async () => {
  const play = async (call: string) => {
    const child = new Child(`
      import { CallbackScopes, runBatch } from './packages/ebb/build/sys/node/callback-scope.js'
      const scopes = new CallbackScopes()
      process.on('uncaughtExceptionMonitor', (error) => console.log(JSON.stringify(error.message)))
      process.on('exit', (code) => console.log(code))
      setImmediate(() => {
        const fail = () => {
          process.nextTick(() => console.log('"tick"'))
          throw new Error('mine')
        }
        ${call}
      })`)
    const { code, stderr } = await child.ended
    expect(stderr).toContain('Error: mine')
    return [code, await child.next(), await child.next()]
  }
  expect(await play('runBatch(() => scopes.run(scopes.id(0), fail))')).toEqual(await play('fail()'))
})

test('a callback that a before hook of async_hooks causes does not take the place of the one that begins', async () => {
  const scopes = new CallbackScopes()
  const id = scopes.id(0)
  const hook = createHook({
    before(asyncId) {
      if (asyncId === id) scopes.run(scopes.id(1), (name: string) => log.push(name), undefined, 'of the hook')
    }
  }).enable()
  setImmediate(() => runBatch(() => scopes.run(id, (a: string, b: string) => log.push(a, b), undefined, 'one', 'two')))
  await turn()
  await turn()
  hook.disable()
  expect(log).toEqual(['of the hook', 'one', 'two'])
})
