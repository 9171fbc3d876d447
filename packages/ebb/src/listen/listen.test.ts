/** The addresses that `listen()` takes, and its errors. */
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { connect, createServer, Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { Child, FEW_DESCRIPTORS } from '../../../../test/support/child.js'
import { client, descriptors, directory, gone, readExactly, target, until } from '../../../../test/support/sockets.js'
import { E } from '../sys/constants.js'
import { type AddressInfo, SocketAddress } from '../sys/sockaddr.js'
import { createSocket, startConnect } from '../sys/socket.js'
import type { Connection } from './connection.js'
import type { Handlers } from './handlers.js'
import { type Listener, type ListenOptions, listen } from './listen.js'
import { serve } from './testing/serve.js'

// Opens the descriptors that ebb keeps for the life of the process, before descriptors are counted.
await listen({ port: 0, giveBack: false }).close()

const echo: Handlers = { data: (connection, bytes) => void connection.write(bytes) }
const hasIPv6 = Object.values(networkInterfaces()).some((infos) => infos?.some(({ address }) => address === '::1'))

function portOf({ address }: Listener): number {
  if ('path' in address) throw new Error('not a port')
  return address.port
}

async function expectEcho(socket: Socket): Promise<void> {
  socket.write('hello')
  expect(`${await readExactly(socket, 5)}`).toBe('hello')
}

describe('addresses', () => {
  test('the default is IPv4 on loopback, with a port that the kernel chooses', async () => {
    const listener = serve(echo, { port: 0 })
    expect(listener.address).toEqual({ address: '127.0.0.1', family: 'IPv4', port: expect.any(Number) })
    expect(portOf(listener)).toBeGreaterThan(0)
    await expectEcho(await client(listener.address))
  })

  test('no name is looked up, except localhost', () => {
    expect(serve({}, { port: 0, host: 'localhost' }).address).toMatchObject({ address: '127.0.0.1' })
    expect(() => listen({ port: 0, host: 'example.com' })).toThrow(/IPv4 or IPv6 address, not "example\.com"/)
  })

  test.runIf(hasIPv6)('IPv6', async () => {
    const listener = serve(echo, { port: 0, host: '::1' })
    expect(listener.address).toMatchObject({ address: '::1', family: 'IPv6' })
    await expectEcho(await client(listener.address))
  })

  test.runIf(hasIPv6)(':: takes IPv4 too, unless it is told not to', async () => {
    const peers: (AddressInfo | undefined)[] = []
    const open = (connection: Connection): void => {
      peers.push(connection.remoteAddress)
    }
    const both = serve({ ...echo, open }, { port: 0, host: '::' })
    const ours: (number | undefined)[] = []
    for (const host of ['127.0.0.1', '::1']) {
      const socket = await client({ address: host, family: 'IPv4', port: portOf(both) })
      await expectEcho(socket)
      ours.push(socket.localPort)
    }
    expect(peers).toEqual([
      { address: '::ffff:127.0.0.1', family: 'IPv6', port: ours[0] },
      { address: '::1', family: 'IPv6', port: ours[1] }
    ])
    const only = serve(echo, { port: 0, host: '::', ipv6Only: true })
    await expectEcho(await client({ address: '::1', family: 'IPv6', port: portOf(only) }))
    await expect(client({ address: '127.0.0.1', family: 'IPv4', port: portOf(only) })).rejects.toMatchObject({
      code: 'ECONNREFUSED'
    })
  })

  test('a Unix path, whose file is removed with the listener', async () => {
    const path = join(directory(), 'é.sock')
    const listener = serve(echo, { path })
    expect(listener.address).toEqual({ path })
    const socket = await client(listener.address)
    await expectEcho(socket)
    const closed = listener.close()
    expect(existsSync(path)).toBe(false)
    await expect(client(listener.address)).rejects.toMatchObject({ code: 'ENOENT' })
    // Open connections stay.
    await expectEcho(socket)
    socket.destroy()
    await closed
  })

  test('an abstract name, which has no file', async () => {
    const path = `\0ebb listen ${process.pid}`
    const peers: (AddressInfo | undefined)[] = []
    const listener = serve({ ...echo, open: ({ remoteAddress }) => void peers.push(remoteAddress) }, { path })
    expect(listener.address).toEqual({ path })
    const at = new SocketAddress({ path })
    const fd = createSocket(at.family)
    expect(startConnect(fd, at)).toBe(0)
    const socket = new Socket({ fd, readable: true, writable: true })
    await expectEcho(socket)
    socket.destroy()
    expect(peers).toEqual([{ path: '' }])
    expect(() => listen({ path })).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }))
    await listener.close()
    serve(echo, { path })
  })

  test('remoteAddress is the client’s address until the connection closes', async () => {
    const seen: (AddressInfo | undefined)[] = []
    const note = ({ remoteAddress }: Connection): void => void seen.push(remoteAddress)
    const listener = serve({ open: note, data: note, close: note })
    const socket = await client(listener.address)
    const here = { address: '127.0.0.1', family: 'IPv4', port: socket.localPort }
    socket.end('x')
    await until(() => seen.length === 3)
    expect(seen).toEqual([here, here, undefined])
  })
})

describe('addresses that are in use or not allowed', () => {
  test('a port in use: the error names the address, and no descriptor is left open', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as { port: number }
    const before = descriptors()
    expect(() => listen({ port })).toThrow(
      expect.objectContaining({
        code: 'EADDRINUSE',
        syscall: 'bind',
        errno: -E.EADDRINUSE,
        message: `bind EADDRINUSE: address already in use, 127.0.0.1:${port}`
      })
    )
    expect(descriptors()).toBe(before)
    await new Promise((resolve) => other.close(resolve))
    serve(echo, { port })
  })

  test('an address of another machine', () => {
    expect(() => listen({ port: 0, host: '192.0.2.1' })).toThrow(
      expect.objectContaining({ code: 'EADDRNOTAVAIL', message: expect.stringContaining('192.0.2.1:0') })
    )
  })

  test.each(['a file', 'a socket'])('a path where %s exists: the file stays', (what) => {
    const path = join(directory(), 'there')
    if (what === 'a file') writeFileSync(path, 'mine')
    else serve({}, { path })
    const before = descriptors()
    expect(() => listen({ path })).toThrow(
      expect.objectContaining({ code: 'EADDRINUSE', message: expect.stringContaining(path) })
    )
    expect(descriptors()).toBe(before)
    expect(existsSync(path)).toBe(true)
  })

  test('a path in a directory that does not exist', () => {
    expect(() => listen({ path: join(directory(), 'no', 'such') })).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  test.runIf(process.getuid?.() === 0)('a port for the superuser alone, asked for by another', async () => {
    const child = new Child(`
      import { readFileSync } from 'node:fs'
      import { listen } from 'ebb'
      const first = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
      process.setgroups([]); process.setgid(65534); process.setuid(65534)
      let error = {}
      try { listen({ port: first - 1 }) } catch (e) { error = e }
      const { code, syscall, message } = error
      console.log(JSON.stringify({ first, code, syscall, message }))`)
    const { first, ...said } = await child.next<{ first: number }>()
    if (first < 2) return
    expect(said).toEqual({
      code: 'EACCES',
      syscall: 'bind',
      message: `bind EACCES: permission denied, 127.0.0.1:${first - 1}`
    })
  })

  test('no descriptor left: EMFILE, and no file is left at the path', async () => {
    const path = join(directory(), 'there')
    const child = new Child(
      `
      import { closeSync, existsSync, openSync } from 'node:fs'
      import { listen } from 'ebb'
      const fds = []
      const said = []
      // From no free descriptor to enough. Node may have closed one of its own since the last time.
      for (let free = 0; free < 6; free++) {
        try { for (;;) fds.push(openSync('/dev/null')) } catch {}
        for (let i = 0; i < free; i++) closeSync(fds.pop())
        try { listen({ path: ${JSON.stringify(path)} }).unref(); said.push('listens'); break }
        catch ({ code }) { said.push(code + (existsSync(${JSON.stringify(path)}) ? ' with a file' : '')) }
      }
      console.log(JSON.stringify(said))`,
      { shell: FEW_DESCRIPTORS }
    )
    const said = await child.next<string[]>()
    expect(said.pop()).toBe('listens')
    expect(said.length).toBeGreaterThan(1)
    expect(new Set(said)).toEqual(new Set(['EMFILE']))
  })
})

describe('options that are not valid', () => {
  test.each<[ListenOptions, string, string]>([
    [{}, 'ERR_MISSING_ARGS', 'listen() needs a port or a path: listen({ port: 3033 }, handlers)'],
    [{ port: 65_536 }, 'ERR_INVALID_ARG_VALUE', 'port must be a whole number from 0 to 65535, not 65536'],
    [{ port: 0, backlog: -1 }, 'ERR_INVALID_ARG_VALUE', 'backlog must be a whole number from 0 on, not -1'],
    [{ port: 0, backlog: 1.5 }, 'ERR_INVALID_ARG_VALUE', 'backlog must be a whole number from 0 on, not 1.5'],
    [{ port: 0, asyncContext: 1 as never }, 'ERR_INVALID_ARG_VALUE', 'asyncContext must be true or false, not 1'],
    [{ path: '' }, 'ERR_INVALID_ARG_VALUE', 'path of a Unix socket must be 1 to 107 bytes long, not 0'],
    [
      { port: 0, giveBack: { budget: 2 } },
      'ERR_INVALID_ARG_VALUE',
      'budget must be a share of CPU time above 0 and at most 1, not 2'
    ]
  ])('%j', (options, code, message) => {
    const before = descriptors()
    expect(() => listen(options)).toThrow(expect.objectContaining({ name: 'TypeError', code, message }))
    expect(descriptors()).toBe(before)
  })

  test('a bad giveBack option leaves no socket file', () => {
    const path = join(directory(), 'there')
    expect(() => listen({ path, giveBack: { budget: 0 } })).toThrow(/budget/)
    expect(existsSync(path)).toBe(false)
  })

  test('every backlog that is a whole number is accepted', async () => {
    for (const backlog of [0, 1, 2 ** 40]) await client(serve({}, { port: 0, backlog }).address)
  })
})

describe('without epoll or koffi', () => {
  const source = (before: string): string => `
    ${before}
    const { listen, release } = await import('ebb')
    let error = {}
    try { listen({ port: 0 }) } catch (e) { error = e }
    const { code, message } = error
    const { before: held, ms } = await release()
    console.log(JSON.stringify({ code, message, released: typeof held + typeof ms }))`

  test('not Linux: the package loads, listen() throws the reason, and release() still works', async () => {
    const child = new Child(source(`Object.defineProperty(process, 'platform', { value: 'darwin' })`))
    expect(await child.next()).toEqual({
      code: 'ERR_EBB_UNSUPPORTED',
      message: 'listen() cannot serve connections here: it needs Linux (epoll); this is darwin',
      released: 'numbernumber'
    })
    expect(await child.ended).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^.*EBB_UNSUPPORTED.*release\(\) returns V8's garbage, but not the memory that malloc keeps: .*\n.*\n$/
      )
    })
  })

  test('no koffi: listen() throws the reason', async () => {
    const child = new Child(
      source(`
        import Module from 'node:module'
        const load = Module._load
        Module._load = (name, ...rest) => {
          if (name === 'koffi') throw new Error("Cannot find module 'koffi'\\nRequire stack:\\n- somewhere")
          return load(name, ...rest)
        }`)
    )
    expect(await child.next()).toEqual({
      code: 'ERR_EBB_UNSUPPORTED',
      message:
        "listen() cannot serve connections here: koffi cannot be loaded: Cannot find module 'koffi' (it needs node_modules/koffi and node_modules/@koromix, also by a bundle; no --omit=optional)",
      released: 'numbernumber'
    })
    expect(await child.ended).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^.*EBB_UNSUPPORTED.*release\(\) returns V8's garbage, but not the memory that malloc keeps: .*\n.*\n$/
      )
    })
  })
})

describe('closing', () => {
  test('close() stops accepting at once, and resolves when the last connection has closed', async () => {
    const listener = serve(echo)
    const { address } = listener
    const socket = await client(address)
    await expectEcho(socket)
    let closed = false
    const closing = listener.close().then(() => {
      closed = true
    })
    expect(listener.accepting).toBe(false)
    await expect(client(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    await expectEcho(socket)
    expect(closed).toBe(false)
    socket.end()
    await closing
    expect(listener.clients).toBe(0)
  })

  test('calling it twice is the same as calling it once', async () => {
    const listener = serve()
    expect(listener.close()).toBe(listener.close())
    await listener.close()
    listener.closeConnections()
    listener.ref().unref()
    await listener.close()
  })

  test('within a handler', async () => {
    const closed: number[] = []
    const listener = serve({
      open(connection) {
        void listener.close()
        connection.end()
      },
      close: ({ id }) => void closed.push(id)
    })
    const socket = connect(target(listener.address)).resume()
    await gone(socket)
    await listener.close()
    expect(closed).toHaveLength(1)
  })

  test('closing the connections of a closed listener does not touch those of a newer one', async () => {
    const old = serve()
    await old.close()
    const listener = serve(echo)
    const socket = await client(listener.address)
    await expectEcho(socket)
    old.closeConnections()
    await expectEcho(socket)
    await expectEcho(await client(listener.address))
    expect([old.clients, listener.clients]).toEqual([0, 2])
  })

  test('a thousand connections at once', async () => {
    const before = descriptors()
    const open = new Set<number>()
    const closed: number[] = []
    const listener = serve({ open: ({ id }) => void open.add(id), close: ({ id }) => void closed.push(id) })
    const sockets = await Promise.all(Array.from({ length: 1000 }, () => client(listener.address)))
    await until(() => listener.clients === 1000)
    expect(listener.accepted).toBe(1000)
    const done = listener.close()
    listener.closeConnections()
    expect(listener.clients).toBe(0)
    expect(new Set(closed)).toEqual(open)
    expect(closed).toHaveLength(1000)
    await done
    for (const socket of sockets) socket.destroy()
    await Promise.all(sockets.map(gone))
    expect(descriptors()).toBe(before)
  })
})

test('in a worker thread: the listener serves, and closes when the thread ends in any way', async () => {
  const source = `const { parentPort } = require('node:worker_threads')
    import('ebb').then(({ listen }) => {
      const server = listen({ port: 0 }, { data: (connection, bytes) => connection.write(bytes) })
      parentPort.postMessage(server.address.port)
      parentPort.on('message', () => process.exit())
    })`
  for (const end of ['terminate', 'exit']) {
    const worker = new Worker(source, { eval: true })
    const [port] = (await once(worker, 'message')) as [number]
    const socket = connect(port, '127.0.0.1')
    socket.write('one')
    expect(String((await once(socket, 'data'))[0])).toBe('one')
    socket.write('two')
    expect(String((await once(socket, 'data'))[0])).toBe('two')
    const over = once(socket, 'close')
    if (end === 'terminate') await worker.terminate()
    else {
      worker.postMessage('end')
      await once(worker, 'exit')
    }
    // Its descriptors were closed with the thread: the connection ends, and nothing listens there any more.
    await over
    const late = connect(port, '127.0.0.1')
    const [error] = await once(late, 'error')
    expect(error).toMatchObject({ code: 'ECONNREFUSED' })
  }
})
