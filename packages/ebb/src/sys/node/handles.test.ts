import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { Child } from '../../../../../test/support/child.js'

const PROGRAM = `
  import { EventEmitter } from 'node:events'
  import net from 'node:net'
  import tls from 'node:tls'
  import { prepareHiddenClasses } from './packages/ebb/build/memory/hidden-classes.js'
  import { socketOptions } from './packages/ebb/build/sys/node/handles.js'
  const print = (value) => console.log(JSON.stringify(value))
`

// V8 of Node 20 gives each options object a hidden class of its own after the first few, so there is none to retain.
test('socketOptions() has the hidden class of the options that Node makes for the sockets of a server', async () => {
  const child = new Child(
    `${PROGRAM}
    prepareHiddenClasses()
    const made = []
    const { init } = EventEmitter
    EventEmitter.init = function (options) {
      if (options?.handle) made.push(options)
      return init.call(this, options)
    }
    const server = net.createServer((socket) => {
      socket.resume()
      if (made.length < 50) return
      EventEmitter.init = init
      server.close()
      const options = socketOptions(socket)
      const last = made.at(-1)
      const sameKeys = Object.keys(options).join() === Object.keys(last).join()
      print([%HaveSameMap(made.at(-2), last), %HaveSameMap(options, last), sameKeys])
    })
    server.listen(0, '127.0.0.1', () => print(server.address().port))`,
    { args: ['--allow-natives-syntax'] }
  )
  const port = await child.next<number>()
  for (let i = 0; i < 50; i++) {
    await new Promise((resolve) => connect(port, '127.0.0.1').on('close', resolve).resume().end())
  }
  const haveOne = !process.version.startsWith('v20.')
  expect(await child.next()).toEqual([haveOne, haveOne, true])
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('socketOptions() leaves Node as it was: no handle, no asynchronous resource', async () => {
  const child = new Child(
    `${PROGRAM}
    import { createHook } from 'node:async_hooks'
    const { init } = EventEmitter
    const resources = []
    prepareHiddenClasses()
    const socket = new net.Socket()
    const hook = createHook({ init: (_, type) => resources.push(type) }).enable()
    const before = process._getActiveHandles().length
    const options = socketOptions(socket)
    const after = process._getActiveHandles().length
    hook.disable()
    print([EventEmitter.init === init, after - before, resources, Object.keys(options).includes('handle')])
    // TLS sockets and classes of the program have other options.
    class Own extends net.Socket {}
    const others = [new Own(), new tls.TLSSocket(new net.Socket()), {}]
    print(others.map((socket) => socketOptions(socket) ?? null))`
  )
  expect(await child.next()).toEqual([true, 0, [], true])
  expect(await child.next()).toEqual([null, null, null])
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})
