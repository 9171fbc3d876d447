/** Calls of `handover()` that cannot succeed: the error says why, and nothing is left open. */
import { once } from 'node:events'
import fs from 'node:fs'
import { connect, createServer as createPlainServer, type Server } from 'node:net'
import { dirname } from 'node:path'
import { createListener, type Parked } from 'ebb'
import { handover } from 'ebb/handover'
import { createServer } from 'ebb/net'
import { connectChannel } from 'ebb/sys'
import { expect, onTestFinished, test } from 'vitest'
import { Child, FEW_DESCRIPTORS } from '../support/child.js'
import { handoverPath } from '../support/handover.js'

function echo(): Server & Parked {
  const server = createServer((socket) => void socket.on('error', () => {}).pipe(socket))
  onTestFinished(() => void server.close())
  return server
}

test.each([
  ['an ordinary file', (path: string) => fs.writeFileSync(path, 'text'), 'EEXIST'],
  ['a directory', (path: string) => fs.mkdirSync(path), 'EEXIST'],
  ['a link to nothing', (path: string) => fs.symlinkSync(`${path}-none`, path), 'EEXIST'],
  ['no folder', (path: string) => fs.rmdirSync(dirname(path)), 'ENOENT']
])('with %s at the path, no server goes on listening', async (_, prepare, code) => {
  const path = handoverPath()
  prepare(path)
  const servers = { echo: echo(), listener: createListener({}) }
  const listen = { echo: { port: 0 }, listener: { port: 0 } }
  await expect(handover(servers, { path, listen })).rejects.toMatchObject({
    code,
    message: expect.not.stringMatching(/\.[0-9a-f]{6}\b/)
  })
  expect(servers.echo.listening).toBe(false)
  const client = connect((servers.listener.address as { port: number }).port)
  const [error] = (await once(client, 'error').catch((error: Error) => [error])) as [Error]
  expect(error).toMatchObject({ code: 'ECONNREFUSED' })
})

test('with one port that is in use, no server goes on listening', async () => {
  const other = createPlainServer().listen(0)
  onTestFinished(() => void other.close())
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const servers = [echo(), echo()]
  const path = handoverPath()
  await expect(handover(servers, { path, listen: [{ port: 0 }, { port }] })).rejects.toThrow(/EADDRINUSE/)
  expect(servers.map(({ listening }) => listening)).toEqual([false, false])
})

test('a second call with the same path in one process is refused at once, and works when the first server is closed', async () => {
  const path = handoverPath()
  const [first, second] = [echo(), echo()]
  const failures: Error[] = []
  first.on('handoverFailed' as 'error', (error: Error) => failures.push(error))
  await handover(first, { path, listen: { port: 0 } })
  await expect(handover(second, { path, listen: { port: 0 } })).rejects.toMatchObject({
    code: 'ERR_EBB_HANDOVER',
    message: expect.stringContaining('give all servers to one call')
  })
  expect(failures).toEqual([])
  first.close()
  await once(first, 'close')
  await expect(handover(second, { path, listen: { port: 0 } })).resolves.toBeUndefined()
})

test('the path of a server, or of another server, is refused', async () => {
  const path = handoverPath()
  await expect(handover(echo(), { path, listen: { path } })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
    message: expect.stringContaining('path of the handover socket')
  })
  const other = createPlainServer().listen(path)
  onTestFinished(() => void other.close())
  await once(other, 'listening')
  await expect(handover(echo(), { path, listen: { port: 0 } })).rejects.toThrow(/is not a handover socket/)
  const client = connect(path)
  await once(client, 'connect')
  client.destroy()
})

test('without a descriptor left, a process that connects is reported now and then, and accepted later', async () => {
  const path = handoverPath()
  const child = new Child(
    `import fs from 'node:fs'
    import { createServer } from 'ebb/net'
    import { handover } from 'ebb/handover'
    const server = createServer(() => {})
    let failed = 0
    server.on('handoverFailed', ({ message }) => {
      if (++failed === 1) setTimeout(() => {
        console.log(JSON.stringify({ failed, message }))
        for (const fd of held) fs.closeSync(fd)
      }, 200)
      else if (held.every((fd) => !fs.existsSync('/proc/self/fd/' + fd))) console.log(JSON.stringify({ message }))
    })
    await handover(server, { path: ${JSON.stringify(path)}, listen: { port: 0 } })
    const held = []
    globalThis.held = held
    for (;;) try { held.push(fs.openSync('/dev/null')) } catch { break }
    console.log('1')`,
    { shell: FEW_DESCRIPTORS }
  )
  await child.next()
  const channel = connectChannel(path)
  onTestFinished(() => channel.close())
  expect(await child.next()).toEqual({ failed: 1, message: expect.stringMatching(/EMFILE/) })
  // It says nothing, which is reported when the channel is accepted.
  expect(await child.next()).toEqual({ message: expect.stringMatching(/connected, and did not go on/) })
})
