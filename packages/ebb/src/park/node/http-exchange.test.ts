import { expect, test } from 'vitest'
import { Child } from '../../../../../test/support/child.js'

const PROGRAM = `
  import http from 'node:http'
  import net from 'node:net'
  import { makeExchange } from './packages/ebb/build/park/node/http-exchange.js'
  const print = (value) => console.log(JSON.stringify(value))
  const turn = () => new Promise(setImmediate)
`

test('makeExchange() has the hidden classes of the requests and responses of a server', async () => {
  const child = new Child(
    `${PROGRAM}
    const made = []
    const server = http.createServer((request, response) => {
      made.push(request, response)
      response.end('ok')
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    // Node learns of the kinds of values first.
    for (let i = 0; i < 3; i++) await (await fetch('http://127.0.0.1:' + server.address().port)).text()
    const [request, response] = makeExchange()
    await turn()
    const last = made.slice(-2)
    const keys = (object) => Reflect.ownKeys(object).map(String).join()
    print([keys(request) === keys(last[0]), keys(response) === keys(last[1])])
    print([%HaveSameMap(request, last[0]), %HaveSameMap(response, last[1])])
    process.exit()`,
    { args: ['--allow-natives-syntax'] }
  )
  expect(await child.next()).toEqual([true, true])
  expect(await child.next()).toEqual([true, true])
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('makeExchange() is seen by nobody, and leaves nothing open', async () => {
  const child = new Child(
    `${PROGRAM}
    import { subscribe, unsubscribe } from 'node:diagnostics_channel'
    import { PerformanceObserver } from 'node:perf_hooks'
    const seen = []
    const { emit } = http.Server.prototype
    http.Server.prototype.emit = function (...args) {
      seen.push(args[0])
      return emit.apply(this, args)
    }
    for (const name of ['end', 'writeHead', 'write']) {
      http.ServerResponse.prototype[name] = () => seen.push(name)
    }
    new PerformanceObserver(() => seen.push('entry')).observe({ entryTypes: ['http'] })
    // The first line that is printed opens a handle.
    print(seen.length)
    const before = process._getActiveHandles().length
    print(makeExchange().length)
    for (let i = 0; i < 10; i++) await turn()
    print([seen, process._getActiveHandles().length - before])
    const onRequest = () => {}
    subscribe('http.server.request.start', onRequest)
    print(makeExchange().length)
    unsubscribe('http.server.request.start', onRequest)
    print(makeExchange().length)
    // A process in which http is not as expected.
    http.Server.prototype.listeners = () => []
    print(makeExchange().length)`
  )
  expect(await child.next()).toBe(0)
  expect(await child.next()).toBe(2)
  expect(await child.next()).toEqual([[], 0])
  expect(await child.next()).toBe(0)
  expect(await child.next()).toBe(2)
  expect(await child.next()).toBe(0)
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})
