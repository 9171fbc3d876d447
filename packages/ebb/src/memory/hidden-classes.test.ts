import { expect, test } from 'vitest'
import { Child } from '../../../../test/support/child.js'

/** A server with a crowd, of whose sockets it is known which are still there. */
const PROGRAM = `
  import net from 'node:net'
  import { Specimens } from './packages/ebb/dist/memory/specimens.js'
  const print = (value) => console.log(JSON.stringify(value))
  const turn = () => new Promise((resolve) => setTimeout(resolve, 20))
  const refs = []
  const server = net.createServer((socket) => {
    refs.push(new WeakRef(socket))
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

test('one socket of a crowd outlives it, until it is let go of', async () => {
  const child = new Child(
    `${PROGRAM}
    const specimens = new Specimens()
    const crowd = await connect(60)
    specimens.look(60)
    await leave(crowd)
    specimens.rest()
    print(await left())
    specimens.drop()
    print(await left())
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toBe(1)
  expect(await child.next()).toBe(0)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('holds what it took while that is open; looks again when a crowd has grown', async () => {
  const child = new Child(
    `${PROGRAM}
    let looks = 0
    const handles = process._getActiveHandles
    process._getActiveHandles = function () {
      looks++
      return handles.call(this)
    }
    const { Specimens: Counted } = await import('./packages/ebb/dist/memory/hidden-classes.js?counted')
    const specimens = new Counted()
    const crowd = await connect(60)
    for (let i = 0; i < 5; i++) specimens.look(60)
    print(looks)
    crowd.push(...(await connect(60)))
    // A look is dear: the next is not before a thousand times what it took.
    while (looks === 1) {
      await turn()
      specimens.look(120)
    }
    for (let i = 0; i < 5; i++) specimens.look(120)
    print(looks)
    specimens.drop()
    process.exit()`
  )
  expect(await child.next()).toBe(1)
  expect(await child.next()).toBe(2)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('takes none that has an answer, or bytes, on their way', async () => {
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
    const specimens = new Specimens()
    specimens.look(60)
    for (const socket of requests.splice(0)) socket.destroy()
    slow.closeAllConnections()
    await turn()
    print(await left(waiting))
    process.exit()`,
    { args: ['--expose-gc'] }
  )
  expect(await child.next()).toBe(0)
})

test('a governor holds one until it has given back, and not after', async () => {
  const child = new Child(
    `${PROGRAM}
    import { govern } from 'ebb'
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

test('code that is optimised for sockets, ticks and buffers stays so through a give-back while nobody is connected', async () => {
  const child = new Child(
    `${PROGRAM}
    import { release } from 'ebb'
    import { executionAsyncResource } from 'node:async_hooks'
    import { prepareSteps } from './packages/ebb/dist/memory/collect-in-steps.js'
    prepareSteps()
    const specimens = new Specimens()
    // Standard output is a socket as well, but not one of the crowd.
    server.on('connection', (socket) => {
      socket.user = { name: 'one of the crowd' }
    })
    const isSocket = (socket) => socket.user.name
    const isTick = (tick) => tick.args
    const field = new Uint32Array(8)
    const first = () => field[0]
    const crowd = await connect(100)
    const optimise = (work, of) => {
      // Without semicolons it would be a remainder.
      %PrepareFunctionForOptimization(work);
      work(of);
      work(of);
      %OptimizeFunctionOnNextCall(work);
      work(of);
    }
    // In a function of its own, which leaves nothing behind that holds the socket.
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
    optimise(first)
    // One that nothing can happen to: the bits are not the same in each version of V8.
    const reference = (number) => number + 1
    const plain = %GetOptimizationStatus(reference)
    optimise(reference, 1)
    const optimised = %GetOptimizationStatus(reference)
    const status = () => [isSocket, isTick, first].map((work) => %GetOptimizationStatus(work) === optimised)
    print([optimised !== plain, ...status()])
    specimens.look(100)
    await leave(crowd)
    await release({ inSteps: true })
    print(status())
    // Without them it would not.
    specimens.drop()
    await release({ inSteps: true })
    print(status())
    process.exit()`,
    { args: ['--allow-natives-syntax'] }
  )
  expect(await child.next()).toEqual([true, true, true, true])
  expect(await child.next()).toEqual([true, true, true])
  expect(await child.next()).toEqual([false, true, true])
})
