/** Connections of a listener by their id, their attachments, and listeners that do not listen. */
import { once } from 'node:events'
import { expect, test, vi } from 'vitest'
import { client, clients, readAll, until } from '../../../../test/support/sockets.js'
import type { Connection } from './connection.js'
import { createListener } from './listen.js'
import { serve } from './testing/serve.js'

test('send() and closeConnection() find connections by id', async () => {
  const opened: Connection[] = []
  const listener = serve({ open: (connection) => void opened.push(connection) })
  const before = await client(listener.address)
  await until(() => opened.length === 1)
  const first = opened[0] as Connection
  expect(listener.send(first.id, 'hello')).toBe(true)
  expect(String((await once(before, 'data'))[0])).toBe('hello')
  // The table exists by now.
  const after = await client(listener.address)
  await until(() => opened.length === 2)
  const second = opened[1] as Connection
  expect(listener.send(second.id, Buffer.from('later'))).toBe(true)
  expect(String((await once(after, 'data'))[0])).toBe('later')

  expect(listener.closeConnection(first.id)).toBe(true)
  await once(before.resume(), 'end')
  expect([listener.closeConnection(first.id), listener.send(first.id, 'x'), first.closed]).toEqual([false, false, true])
  second.end('bye')
  expect(listener.send(second.id, 'after the end')).toBe(false)
  expect(listener.send(Number.NaN, 'x')).toBe(false)
  // @ts-expect-error: not a number
  expect(() => listener.send('1', 'x')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  // @ts-expect-error: not bytes
  expect(() => listener.send(second.id, 1)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
})

test('an attachment is a copy, has a limit, and is there until the close handler has returned', async () => {
  let connection: Connection | undefined
  const close = vi.fn(({ attachment }: Connection) => attachment)
  const listener = serve(
    {
      open: (opened) => {
        connection = opened
      },
      close
    },
    { port: 0, attachmentLimit: 100 }
  )
  const socket = await client(listener.address)
  await until(() => connection !== undefined)
  const it = connection as unknown as Connection
  expect(it.attachment).toBeUndefined()
  const value = { name: 'Ada' }
  it.attachment = value
  value.name = 'changed'
  expect(it.attachment).toEqual({ name: 'Ada' })
  expect(() => {
    it.attachment = 'x'.repeat(100)
  }).toThrow(expect.objectContaining({ code: 'ERR_EBB_ATTACHMENT_TOO_LARGE' }))
  expect(() => {
    it.attachment = () => {}
  }).toThrow(expect.objectContaining({ name: 'DataCloneError' }))
  expect(it.attachment).toEqual({ name: 'Ada' })
  socket.destroy()
  await until(() => close.mock.calls.length > 0)
  expect(close).toHaveReturnedWith({ name: 'Ada' })
  expect(it.attachment).toBeUndefined()
  expect(() => {
    it.attachment = 1
  }).toThrow(expect.objectContaining({ code: 'ERR_EBB_CONNECTION_CLOSED' }))
})

test('a listener that was never started has no address, and closes at once', async () => {
  const listener = createListener({}, { firstByteTimeout: '5s' })
  expect(() => listener.address).toThrow(expect.objectContaining({ code: 'ERR_SERVER_NOT_RUNNING' }))
  expect([listener.accepting, listener.clients, listener.accepted]).toEqual([false, 0, 0])
  expect([listener.send(1, 'x'), listener.closeConnection(1)]).toEqual([false, false])
  listener.unref().ref()
  listener.closeConnections()
  await listener.close()
  expect(await createListener().shutdown()).toMatchObject({ drained: 0, cut: 0 })
  // @ts-expect-error: not a number
  const wrong = (): unknown => createListener({}, { attachmentLimit: 'large' })
  expect(wrong).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
})

test('a broadcast reaches all connections that can still get bytes, in order, unless a filter leaves them out', async () => {
  const opened: Connection[] = []
  const listener = serve({ open: (connection) => void opened.push(connection) })
  const sockets = await clients(listener.address, 20)
  await until(() => opened.length === 20)
  opened[0]?.end()
  opened[1]?.close()
  const left = opened[2] as Connection
  const bytes = Buffer.from('first ')
  const counts = [listener.broadcast(bytes), listener.broadcast('second', (id) => id !== left.id)]
  // Copied.
  bytes.fill('x')
  expect(await Promise.all(counts)).toEqual([18, 17])
  listener.closeConnections()
  const texts = await Promise.all(sockets.map((socket) => readAll(socket).then(String)))
  expect(texts.sort()).toEqual(['', '', 'first ', ...new Array(17).fill('first second')])
  // @ts-expect-error: not a function
  expect(() => listener.broadcast('x', 1)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
})
