import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { Cli, program } from '../../../../test/support/cli.js'
import { alive, descendants } from '../../../../test/support/processes.js'
import { descriptors, directory } from '../../../../test/support/sockets.js'
import { find, type Running, start } from './target.js'

const node = process.execPath
/** Returns JavaScript that listens at `at`. */
const listens = (at: string): string => `require('node:net').createServer().listen(${at})`

async function started(command: string[], signal?: AbortSignal): Promise<Running> {
  const running = await start(command, { signal })
  onTestFinished(async () => {
    await running.launched?.stop(0)
  })
  return running
}

test('replaces {port} by a free port and sets PORT to it', async () => {
  const running = await started([node, '-e', listens('process.argv[1]'), '{port}'])
  expect(running).toMatchObject({ host: '127.0.0.1', pid: running.launched?.pid })
  const other = await started([node, '-e', listens('process.env.PORT')])
  expect(other.port).not.toBe(running.port)
})

test('{port} in the environment counts as {port} in the command: no other port is accepted', async () => {
  const both = `require('node:net').createServer().listen(0); setTimeout(() => ${listens('process.env.AT')}, 400)`
  const running = await start([node, '-e', both], { env: { AT: '{port}' } })
  onTestFinished(async () => void (await running.launched?.stop(0)))
  const environment = readFileSync(`/proc/${running.pid}/environ`, 'utf8')
  expect(environment).toContain(`\0AT=${running.port}\0`)
})

test('finds a server that chooses its own port', async () => {
  const { host, port } = await started([node, '-e', listens("0, '127.0.0.1'")])
  expect(host).toBe('127.0.0.1')
  expect(port).toBeGreaterThan(0)
})

test('finds a server on ::1', async () => {
  const { host } = await started([node, '-e', listens("0, '::1'")])
  expect(host).toBe('::1')
})

test('finds a server on 127.0.0.2', async () => {
  const { host } = await started([node, '-e', listens("0, '127.0.0.2'")])
  expect(host).toBe('127.0.0.2')
})

test('finds the process that listens behind a shell', async () => {
  const running = await started(['/bin/sh', '-c', `"${node}" -e "${listens('{port}')}" & wait`])
  expect(running.pid).not.toBe(running.launched?.pid)
  expect(descendants(running.launched?.pid as number)).toContain(running.pid)
})

test('leaves the output before it listened to be read', async () => {
  const running = await started([node, '-e', `console.log('first'); ${listens('{port}')}`])
  let text = ''
  running.launched?.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  running.launched?.stdout.resume()
  await running.launched?.stop()
  expect(text).toBe('first\n')
})

test('a server that ends before it listens: the error has its output and its exit code', async () => {
  const before = descriptors()
  const command = ['/bin/sh', '-c', 'echo no database >&2; exit 7']
  await expect(start(command)).rejects.toMatchObject({
    name: 'RecordError',
    message: expect.stringMatching(/ended before it listened \(exit code 7\); it said: no database$/)
  })
  await expect(start(['/bin/sh', '-c', 'kill -9 $$'])).rejects.toThrow('SIGKILL')
  await expect(start(['/no/such/program'])).rejects.toThrow('no such program')
  // The pipes of a command that was not found are closed one turn later.
  await expect.poll(descriptors).toBe(before)
})

test('refuses several processes behind one port', async () => {
  const source = `
    const cluster = require('node:cluster')
    cluster.schedulingPolicy = cluster.SCHED_NONE
    if (cluster.isPrimary) { cluster.fork(); cluster.fork() }
    else ${listens("process.env.PORT, '127.0.0.1'")}`
  // The cluster module starts its workers from a file.
  const script = join(directory(), 'server.cjs')
  writeFileSync(script, source)
  await expect(start([node, script])).rejects.toThrow(/processes listen on port \d+: .*one worker/)
})

test('an abort before the server listens rejects and leaves no process', async () => {
  const abort = new AbortController()
  const before = descendants(process.pid)
  const starting = start([node, '-e', 'setInterval(() => {}, 1000)'], { signal: abort.signal })
  starting.catch(() => {})
  await wait(200)
  const [child] = descendants(process.pid).filter((pid) => !before.includes(pid))
  abort.abort(new Error('enough'))
  await expect(starting).rejects.toThrow()
  expect(child).toBeGreaterThan(0)
  expect(alive(child as number)).toBe(false)
})

test('finds a running server by port, by pid, and by both', async () => {
  const server = await program(`
    const server = net.createServer().listen(0, '127.0.0.1', () => console.log(server.address().port))
  `)
  const running = { pid: server.pid, host: '127.0.0.1', port: server.port, launched: null }
  expect(find({ port: server.port })).toEqual(running)
  expect(find({ pid: server.pid })).toEqual(running)
  expect(find({ pid: server.pid, port: server.port })).toEqual(running)
  expect(() => find({ pid: server.pid, port: 1 })).toThrow(/does not listen on port 1/)
})

test('refuses a pid that listens on two ports, on none, or does not exist', async () => {
  const two = await program(`
    net.createServer().listen(0, '127.0.0.1', () => {
      const server = net.createServer().listen(0, '127.0.0.1', () => console.log(server.address().port))
    })
  `)
  expect(() => find({ pid: two.pid })).toThrow(/listens on ports \d+, \d+: give one with --port/)
  const none = new Cli(['sleep', '60'])
  expect(() => find({ pid: none.pid })).toThrow(/does not listen on any TCP port/)
  const gone = new Cli(['true'])
  await gone.ended
  expect(() => find({ pid: gone.pid })).toThrow(`there is no process ${gone.pid}`)
})
