/** Which handlers are called with a connection. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { client, until } from '../../../../test/support/sockets.js'
import { ConnectionHandle } from './connection.js'
import { type Handlers, ignoresArguments } from './handlers.js'
import { serve } from './testing/serve.js'

/** How many handles were made. */
let made = 0
vi.mock(import('./connection.js'), async (original) => {
  const module = await original()
  class Counted extends module.ConnectionHandle {
    constructor(...args: ConstructorParameters<typeof module.ConnectionHandle>) {
      super(...args)
      made++
    }
  }
  return { ...module, ConnectionHandle: Counted }
})

/** Connects and closes one client, and returns how many handles that has made. */
async function handlesFor(handlers: Handlers, asyncContext: boolean): Promise<number> {
  const listener = serve(handlers, { port: 0, asyncContext })
  const before = made
  const socket = await client(listener.address)
  await until(() => listener.clients === 1)
  socket.destroy()
  await until(() => listener.clients === 0)
  return made - before
}

test.each([true, false])('handlers that ignore their arguments leave no object, asyncContext %s', async (context) => {
  let open = 0
  const counting: Handlers = { open: () => void open++, close: () => void open-- }
  expect(await handlesFor(counting, context)).toBe(0)
  expect(open).toBe(0)
  expect(await handlesFor({}, context)).toBe(0)
  expect(await handlesFor({ ...counting, close: (_connection) => void open-- }, context)).toBe(1)
})

test('all others get the connection', async () => {
  const seen: unknown[][] = []
  function taking(): void {
    // biome-ignore lint/complexity/noArguments: a handler may use them
    seen.push([...arguments])
  }
  const handlers: Handlers[] = [
    { open: taking, close: taking },
    { open: (...args: unknown[]) => void seen.push(args), close: (...args: unknown[]) => void seen.push(args) },
    { open: (connection = undefined as never) => void seen.push([connection]), close: taking.bind(undefined) }
  ]
  for (const each of handlers) await handlesFor(each, false)
  expect(seen).toHaveLength(6)
  for (const [connection] of seen) expect(connection).toBeInstanceOf(ConnectionHandle)
})

test('a handler that replaces one which ignores its arguments gets the connection', async () => {
  const seen: unknown[] = []
  const handlers: Handlers = { open: () => {} }
  const listener = serve(handlers, { port: 0 })
  handlers.open = (connection) => void seen.push(connection)
  const socket = await client(listener.address)
  onTestFinished(() => void socket.destroy())
  await until(() => seen.length === 1)
  expect(seen[0]).toBeInstanceOf(ConnectionHandle)
})

test('only an arrow function without parameters is known to ignore its arguments', () => {
  const method = { handler() {} }.handler
  const later = async (): Promise<void> => {}
  for (const handler of [() => {}, later]) expect(ignoresArguments(handler)).toBe(true)
  for (const handler of [
    undefined,
    method,
    function handler() {},
    class {},
    (...args: unknown[]) => args,
    (first = 1) => first,
    ({ id } = { id: 1 }) => id,
    (() => {}).bind(undefined),
    new Proxy(() => {}, {})
  ]) {
    expect(ignoresArguments(handler)).toBe(false)
  }
})
