import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { askInside } from 'ebb/memory'
import { expect, onTestFinished, test } from 'vitest'
import { Cli, ebb, run, server } from './support/cli.js'

interface Shown {
  version: number
  hidden: number
  memory: { total: number; available: number }
  servers: {
    pid: number
    name: string
    clients: number | null
    anonymous: number
    resident: number
    listens: object[]
    processes: { pid: number; listens: object[] }[]
  }[]
}

async function show(...args: string[]): Promise<Shown> {
  const { code, stdout, stderr } = await run(['top', '--once', '--json', ...args])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout) as Shown
}

async function connect(where: net.NetConnectOpts, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const socket = net.connect(where)
    onTestFinished(() => void socket.destroy())
    await once(socket, 'connect')
  }
}

test('shows servers by pid, port and name, with their clients and processes', async () => {
  const plain = await server()
  const supervised = await server(['--procs', '2'])
  const socket = path.join(os.tmpdir(), `ebb-top-${process.pid}.sock`)
  const source = `require('node:net').createServer((socket) => socket.resume())
    .listen(${JSON.stringify(socket)}, () => console.log('ready'))`
  const unix = new Cli([process.execPath, '-e', source])
  await unix.said(/ready/)
  await connect({ port: plain.port, host: '127.0.0.1' }, 3)
  await connect({ port: supervised.port, host: '127.0.0.1' }, 5)
  await connect({ path: socket }, 2)

  const { servers, version, memory } = await show(`:${plain.port}`, `:${supervised.port}`, socket, '--sort', 'clients')
  expect(version).toBe(1)
  expect(memory.available).toBeLessThan(memory.total)
  expect(servers.map(({ pid, clients, processes }) => [pid, clients, processes.length])).toEqual([
    [supervised.pid, 5, 3],
    [plain.pid, 3, 1],
    [unix.pid, 2, 1]
  ])
  expect(servers.map(({ name }) => name)).toEqual(['node ebb.js', 'node ebb.js', 'node -e'])
  expect(servers.map(({ listens }) => listens)).toEqual([
    [{ type: 'tcp', host: '127.0.0.1', port: supervised.port }],
    [{ type: 'tcp', host: '127.0.0.1', port: plain.port }],
    [{ type: 'unix', path: socket }]
  ])
  for (const { anonymous, resident } of servers) expect(anonymous).toBeLessThan(resident)

  // A process that does not listen is shown if its pid is given.
  const chosen = await show(String(process.pid), String(plain.pid))
  expect(chosen.servers.map(({ pid }) => pid).toSorted()).toEqual([process.pid, plain.pid].toSorted())

  const text = await run(['top', '--once', `:${plain.port}`])
  expect(text.stdout).toMatch(/^ebb top .* 1 server {2}3 clients/)
  expect(text.stdout).toMatch(/\n +PID SERVER +PORT CLIENTS +ANON/)
  expect(text.stdout).toMatch(new RegExp(`\\n +${plain.pid} node ebb.js +${plain.port} +3 +\\d+\\.\\d `))
})

/** A server in a container with a network of its own, and one in a container with the network of the machine. */
const OWN_NETWORK = ['unshare', '--net']
const OWN_PROCESSES = ['unshare', '--pid', '--fork', '--mount-proc']

test.skipIf(!mayUnshare())('shows servers in containers in the first sample, with their releases', async () => {
  const source = `require('node:net').createServer().listen(0, function () { console.log(this.address().port) })`
  const command = [process.execPath, '--import', 'ebb/auto', '-e', source]
  const [apart, shared] = [OWN_NETWORK, OWN_PROCESSES].map((unshare) => new Cli([...unshare, ...command])) as [Cli, Cli]
  const [apartPort, sharedPort] = await Promise.all([apart, shared].map(async (cli) => (await cli.said(/^(\d+)$/m))[1]))
  const sharedPid = Number(fs.readFileSync(`/proc/${shared.pid}/task/${shared.pid}/children`, 'latin1'))
  // Waits for its inside socket.
  await askInside(sharedPid, { ask: 'counters' })

  const { servers } = await show(`:${apartPort}`, `:${sharedPort}`)
  const byPid = new Map(servers.map((server) => [server.pid, server]))
  expect(byPid.get(apart.pid)).toMatchObject({ listens: [{ port: Number(apartPort) }], inside: null })
  expect(byPid.get(sharedPid)).toMatchObject({
    listens: [{ port: Number(sharedPort) }],
    inside: { releases: expect.any(Number) }
  })
})

function mayUnshare(): boolean {
  try {
    for (const [unshare = '', ...args] of [OWN_NETWORK, OWN_PROCESSES]) {
      execFileSync(unshare, [...args, 'true'], { stdio: 'ignore' })
    }
    return true
  } catch {
    return false
  }
}

test('--json prints a line for each sample until it is interrupted', async () => {
  const { port, pid } = await server()
  const top = ebb(['top', '--json', '--every', '50ms', `:${port}`])
  await top.said(/(\n.*){3}/)
  const { code, stdout, stderr } = await top.end('SIGINT')
  expect({ code, stderr }).toEqual({ code: 130, stderr: '' })
  const samples = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Shown)
  expect(samples.map(({ servers }) => servers.map((shown) => shown.pid))).toEqual(samples.map(() => [pid]))
})

test.each([
  [['999999999'], 'ebb: ESRCH: there is no process 999999999: check the pid (pgrep -a NAME), or give --port\n'],
  [[':0'], 'ebb: :0 is not a port: give :1 to :65535\n'],
  [['--live'], 'ebb: --once ends after one sample, so nobody could open the page of --live: leave out one of them\n']
])('refuses %j', async (args, message) => {
  const { code, stdout, stderr } = await run(['top', '--once', ...args])
  expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: '', stderr: message })
})

test.each([
  ['a reader that has gone', 0, ''],
  ['a full disk', 1, 'ebb: ENOSPC: cannot write to standard output: no space left on the device\n']
])('--json ends with %s', async (what, code, stderr) => {
  const { port } = await server()
  const shell = what === 'a full disk' ? 'exec > /dev/full' : undefined
  const top = ebb(['top', '--json', '--every', '50ms', `:${port}`], { ...(shell !== undefined && { shell }) })
  if (shell === undefined) {
    await top.said(/\n/)
    top.process.stdout?.destroy()
  }
  expect(await top.ended).toMatchObject({ code, stderr })
})
