import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

/** A server with a crowd. `left()` counts the sockets that are still in memory. */
const PROGRAM = `
  import net from 'node:net'
  import {
    prepareHiddenClasses,
    RetainedHandles,
    retain,
    retainSocket
  } from './packages/ebb/build/memory/hidden-classes.js'
  const print = (value) => console.log(JSON.stringify(value))
  const turn = () => new Promise((resolve) => setTimeout(resolve, 20))
  const refs = []
  const natives = []
  const server = net.createServer((socket) => {
    refs.push(new WeakRef(socket))
    natives.push(new WeakRef(socket._handle))
    socket.on('error', () => {})
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const connect = async (count) => {
    const before = refs.length
    const own = Array.from({ length: count }, () => net.connect(server.address().port, '127.0.0.1'))
    while (refs.length < before + count) await turn()
    return own
  }
  const leave = async (sockets) => {
    for (const socket of sockets.splice(0)) socket.destroy()
    while (await new Promise((resolve) => server.getConnections((_, count) => resolve(count))) > 0) await turn()
    await turn()
  }
  const left = async (of = refs) => {
    for (let i = 0; i < 3; i++) {
      await turn()
      gc()
    }
    return of.filter((ref) => ref.deref() !== undefined).length
  }
`

test('retains one socket of a crowd, and its handle, until drop()', async () => {
  const child = new Child(
    `${PROGRAM}
    const handles = new RetainedHandles()
    const crowd = await connect(60)
    handles.onCrowd(60)
    await leave(crowd)
    handles.onNoCrowd()
    print([await left(), await left(natives)])
    handles.drop()
    print([await left(), await left(natives)])
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toEqual([1, 1])
  expect(await child.next()).toEqual([0, 0])
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('keeps the sockets it has picked while they are open; picks again when a crowd has grown', async () => {
  const child = new Child(
    `${PROGRAM}
    let looks = 0
    const { _getActiveHandles } = process
    process._getActiveHandles = function () {
      looks++
      return _getActiveHandles.call(this)
    }
    const handles = new RetainedHandles()
    const crowd = await connect(60)
    for (let i = 0; i < 5; i++) handles.onCrowd(60)
    print(looks)
    crowd.push(...(await connect(60)))
    // Picking takes long: the next is not before 1000 times the time that it took.
    while (looks === 1) {
      await turn()
      handles.onCrowd(120)
    }
    for (let i = 0; i < 5; i++) handles.onCrowd(120)
    print(looks)
    handles.drop()
    process.exit()`
  )
  expect(await child.next()).toBe(1)
  expect(await child.next()).toBe(2)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('makes a socket for its options at the first crowd only', async () => {
  const child = new Child(
    `${PROGRAM}
    import { EventEmitter } from 'node:events'
    const handles = new RetainedHandles()
    let { init } = EventEmitter
    let writes = 0
    Object.defineProperty(EventEmitter, 'init', {
      get: () => init,
      set: (value) => {
        writes++
        init = value
      }
    })
    let looks = 0
    const { _getActiveHandles } = process
    process._getActiveHandles = function () {
      looks++
      return _getActiveHandles.call(this)
    }
    for (const crowds of [1, 2]) {
      const crowd = await connect(60)
      while (looks < crowds) {
        await turn()
        handles.onCrowd(60)
      }
      handles.drop()
      await leave(crowd)
    }
    print(writes)
    process.exit()`
  )
  // It is replaced, and put back.
  expect(await child.next()).toBe(2)
})

test('picks no socket with a response or bytes under way', async () => {
  const child = new Child(
    `${PROGRAM}
    import http from 'node:http'
    const waiting = []
    const slow = http.createServer((_, response) => waiting.push(new WeakRef(response)))
    await new Promise((resolve) => slow.listen(0, '127.0.0.1', resolve))
    const requests = Array.from({ length: 30 }, () => {
      const socket = net.connect(slow.address().port, '127.0.0.1').on('error', () => {})
      socket.write('GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' + 'x'.repeat(10_000_000))
      return socket
    })
    while (waiting.length < 30) await turn()
    const handles = new RetainedHandles()
    handles.onCrowd(60)
    for (const socket of requests.splice(0)) socket.destroy()
    slow.closeAllConnections()
    await turn()
    print(await left(waiting))
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toBe(0)
})

test('a governor retains a socket until it has released memory, and not after', async () => {
  const child = new Child(
    `${PROGRAM}
    import { govern } from './packages/ebb/build/index.js'
    import { subscribe } from 'node:diagnostics_channel'
    govern({ every: 100, budget: 1, maxPause: 10_000, worth: 0, pressure: false })
    globalThis.weight = Array.from({ length: 300_000 }, (_, i) => ({ i, text: String(i) }))
    const crowd = await connect(100)
    await new Promise((resolve) => setTimeout(resolve, 500))
    const done = new Promise((resolve) => subscribe('ebb:release', resolve))
    weight = undefined
    await leave(crowd)
    await done
    print(await left())
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toBe(0)
})

test('code that is optimised for sockets, ticks and buffers stays so when all clients have left', async () => {
  const child = new Child(
    `${PROGRAM}
    import { release } from './packages/ebb/build/index.js'
    import { executionAsyncResource } from 'node:async_hooks'
    import { rejectionsIterator } from './packages/ebb/build/sys/node/handles.js'
    prepareHiddenClasses()
    const handles = new RetainedHandles()
    // Standard output is a socket, too, but not of the crowd.
    server.on('connection', (socket) => {
      socket.user = { name: 'one of the crowd' }
    })
    const isSocket = (socket) => socket.user.name
    const isTick = (tick) => tick.args
    const isIterator = (iterator) => iterator?._iterator
    const field = new Uint32Array(8)
    const first = () => field[0]
    const crowd = await connect(100)
    const optimise = (work, of) => {
      // Without semicolons % would be the remainder operator.
      %PrepareFunctionForOptimization(work);
      work(of);
      work(of);
      %OptimizeFunctionOnNextCall(work);
      work(of);
    }
    // A function, so that no variable holds the socket afterwards.
    const one = async () => {
      server.once('connection', (socket) => optimise(isSocket, socket))
      crowd.push(...(await connect(1)))
    }
    await one()
    await new Promise((resolve) =>
      process.nextTick(() => {
        optimise(isTick, executionAsyncResource())
        resolve()
      })
    )
    optimise(isIterator, rejectionsIterator())
    optimise(first)
    // A function that stays optimised in any case: the bits of the status differ between versions of V8.
    const reference = (number) => number + 1
    const plain = %GetOptimizationStatus(reference)
    optimise(reference, 1)
    const optimised = %GetOptimizationStatus(reference)
    const all = [isSocket, isTick, isIterator, first]
    const status = () => all.map((work) => %GetOptimizationStatus(work) === optimised)
    print([optimised !== plain, ...status()])
    handles.onCrowd(100)
    await leave(crowd)
    await release({ inSteps: true })
    print(status())
    // Without the retained socket it would not.
    handles.drop()
    await release()
    print(status())
    process.exit()`,
    { args: ['--allow-natives-syntax'] }
  )
  expect(await child.next()).toEqual([true, true, true, true, true])
  expect(await child.next()).toEqual([true, true, true, true])
  expect(await child.next()).toEqual([false, true, true, true])
})

test('retainSocket() retains a socket, but not what listens to it', async () => {
  const child = new Child(
    `${PROGRAM}
    const listeners = []
    let retained
    server.once('connection', (socket) => {
      const listener = () => {}
      socket.on('data', listener)
      listeners.push(new WeakRef(listener))
      retained = retainSocket(socket)
      print(retained.retained.length)
    })
    await leave(await connect(1))
    print([await left(), await left(listeners)])
    retained = undefined
    print(await left())
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toBe(3)
  expect(await child.next()).toEqual([1, 0])
  expect(await child.next()).toBe(0)
})

test('retain() keeps objects as long as its result', async () => {
  const child = new Child(
    `${PROGRAM}
    let retained = retain({ name: 'first' }, { name: 'second' })
    const objects = retained.retained.map((object) => new WeakRef(object))
    print(await left(objects))
    retained = undefined
    print(await left(objects))
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toBe(2)
  expect(await child.next()).toBe(0)
})
