/** Connections of which another process has duplicates: closing them looks the same to the client. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { createServer } from 'ebb/net'
import { closeDescriptor, constants, libc, reactor } from 'ebb/sys'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { client, listening } from '../support/parked.js'
import { until } from '../support/sockets.js'

beforeEach(() => {
  reactor().hasDuplicates = true
  onTestFinished(() => {
    reactor().hasDuplicates = false
  })
})

/** Duplicates all watched descriptors, as if they had been sent to a process that never closes them. */
function duplicateAll(): void {
  for (const [fd, serial] of reactor().serial.entries()) {
    if (serial === 0) continue
    const copy = libc.check(libc.fcntl(fd, constants.F_DUPFD_CLOEXEC, 0), 'fcntl')
    onTestFinished(() => closeDescriptor(copy))
  }
}

/** Returns how the connection of a client ends: `end` for a FIN, or the code of its error. */
function ending(socket: Socket): Promise<string> {
  socket.resume()
  return new Promise((resolve) => {
    socket.once('end', () => resolve('end'))
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'error'))
  })
}

type Act = (connection: import('ebb/net').Connection, socket: Socket) => unknown
const byte = 'x'

async function ended(act: Act, wakes: boolean): Promise<string> {
  let last: import('ebb/net').Connection | undefined
  const server = await listening(
    createServer({ idle: '10ms' }, (socket, connection) => {
      last = connection
      socket.on('error', () => {}).resume()
      if (wakes && connection.wakes === 2) act(connection, socket)
    })
  )
  const socket = await client(server)
  socket.write(byte)
  await until(() => server.stats().parkedAgain === 1)
  duplicateAll()
  const end = ending(socket)
  if (wakes) socket.write(byte)
  else act(last as import('ebb/net').Connection, socket)
  return end
}

describe('a parked connection', () => {
  test('close() sends a FIN', async () => {
    expect(await ended((connection) => connection.close(), false)).toBe('end')
  })
})

describe('an awake connection', () => {
  test.each<[string, string, Act]>([
    ['end() sends a FIN', 'end', (_, socket) => socket.end()],
    ['destroy() sends a FIN', 'end', (_, socket) => socket.destroy()],
    ['resetAndDestroy() sends a RST', 'ECONNRESET', (_, socket) => socket.resetAndDestroy()]
  ])('%s', async (_, expected, act) => {
    expect(await ended(act, true)).toBe(expected)
  })

  test('parking it sends nothing', async () => {
    const server = await listening(
      createServer({ idle: '10ms' }, (socket) => socket.on('data', (x) => socket.write(x)))
    )
    const socket = await client(server)
    for (let i = 1; i < 5; i++) {
      socket.write(byte)
      await once(socket, 'data')
      duplicateAll()
      await until(() => server.stats().parkedAgain === i)
    }
    expect(server.stats().closed).toMatchObject({ peer: 0, reset: 0, server: 0, socket: 0 })
  })
})
