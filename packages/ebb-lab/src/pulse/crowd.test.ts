/** Crowds. These tests run the built files, because worker processes are forked from them. */

import { type AddressInfo, createServer } from 'node:net'
import { type ClientOptions, type Crowd, crowdOf, processesFor, pulse } from 'ebb-lab/testing'
import { expect, onTestFinished, test } from 'vitest'
import { ebb, program, server } from '../../../../test/support/cli.js'
import { alive, commandOf, descendants } from '../../../../test/support/processes.js'
import { until } from '../../../../test/support/sockets.js'

async function crowd(port: number, processes: number, options: Partial<ClientOptions> = {}): Promise<Crowd> {
  const made = await crowdOf(
    {
      address: { host: '127.0.0.1', port },
      sources: [],
      rate: Number.POSITIVE_INFINITY,
      timeout: 30_000,
      close: 'fin',
      payload: null,
      active: 1,
      expectEcho: false,
      part: { index: 0, of: 1 },
      ...options
    },
    processes
  )
  onTestFinished(async () => {
    await made.close()
    await made.dispose()
  })
  return made
}

function workersOf(pid: number): number[] {
  return descendants(pid).filter((child) => commandOf(child).includes('pulse/worker.js'))
}

function sum(causes: Record<string, number>): number {
  return Object.values(causes).reduce((a, b) => a + b, 0)
}

test('several processes open, hold and close the connections like one', async () => {
  const held = await server()
  const several = await crowd(held.port, 3)
  expect(workersOf(process.pid)).toHaveLength(3)
  for (const n of [100, 2]) {
    const opened = await several.connect(n)
    expect(opened).toMatchObject({ connected: n, failed: {}, abandoned: 0 })
    await until(() => held.clients() === n)
    await several.close()
    await until(() => held.clients() === 0)
    expect(await several.takeLost()).toEqual({})
  }
  expect(several.latencies.connects.corrected.count).toBe(102)
  const workers = workersOf(process.pid)
  await several.dispose()
  expect(workers.filter(alive)).toEqual([])
})

test('the connections of several processes have different numbers without gaps', async () => {
  const ids: string[] = []
  const listening = createServer((socket) => void socket.on('error', () => {}).on('data', (id) => ids.push(`${id}`)))
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void listening.close())
  const { port } = listening.address() as AddressInfo
  const several = await crowd(port, 3, { payload: '{id}', ids: { first: 10, count: 4, next: 20, step: 2 } })
  await several.connect(5)
  await until(() => ids.length === 5)
  expect(ids.toSorted()).toEqual(['10', '11', '12', '13', '20'])
})

test('the connections of a worker that is killed while it holds are lost, once; the other workers go on', async () => {
  const held = await server()
  const several = await crowd(held.port, 3)
  await several.connect(90)
  const [victim] = workersOf(process.pid)
  process.kill(victim as number, 'SIGKILL')
  await until(() => held.clients() === 60)
  expect(await several.takeLost()).toEqual({})
  await several.close()
  expect(await several.takeLost()).toEqual({ EWORKERLOST: 30 })
  expect(await several.takeLost()).toEqual({})
  await until(() => held.clients() === 0)

  const again = await several.connect(90)
  expect(again).toMatchObject({ connected: 60, failed: { EWORKERLOST: 30 }, abandoned: 0 })
})

test('a connection that the server closed is not counted again when its worker dies', async () => {
  const closing = await program(`
    let n = 0
    const server = net.createServer((socket) => { if (n++ < 20) socket.end(); socket.on('error', () => {}).resume() })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))
  `)
  const several = await crowd(closing.port, 2)
  await several.connect(100)
  await until(() => several.open === 80)
  expect(await several.takeLost()).toEqual({ FIN: 20 })
  for (const pid of workersOf(process.pid)) process.kill(pid, 'SIGKILL')
  await several.close()
  expect(await several.takeLost()).toEqual({ EWORKERLOST: 80 })
})

test('counts all connects when a worker is killed while it connects', async () => {
  const held = await server()
  const several = await crowd(held.port, 3, { rate: 300 })
  const opening = several.connect(300)
  await until(() => held.clients() > 30)
  process.kill(workersOf(process.pid)[1] as number, 'SIGKILL')
  const opened = await opening
  expect(opened).toMatchObject({ connected: 200, failed: { EWORKERLOST: 100 } })
})

test('a run completes although a worker dies', async () => {
  const held = await server()
  const report = await pulse(
    { host: '127.0.0.1', port: held.port },
    { big: 30, iterations: 2, bigSeparation: 0, small: 0, linger: 100 },
    {
      procs: 3,
      onEvent: ({ event, pulse: { index } }) => {
        if (event === 'connected' && index === 0) process.kill(workersOf(process.pid)[0] as number, 'SIGKILL')
      }
    }
  )
  expect(report).toMatchObject({
    pulses: 2,
    connected: 50,
    lost: { EWORKERLOST: 10 },
    failed: { EWORKERLOST: 10 },
    stopped: null
  })
  expect(workersOf(process.pid)).toEqual([])
  await until(() => held.clients() === 0)
})

test('accepts two aborts, and an abort before the start', async () => {
  const held = await server()
  const several = await crowd(held.port, 3, { rate: 100 })
  const abort = new AbortController()
  const opening = several.connect(1000, abort.signal)
  await until(() => held.clients() > 10)
  abort.abort()
  abort.abort()
  const opened = await opening
  expect(opened.connected + sum(opened.failed) + opened.abandoned).toBe(1000)
  expect(opened.abandoned).toBeGreaterThan(0)
  await several.close()
  await until(() => held.clients() === 0)

  const none = await several.connect(1000, abort.signal)
  expect(none.connected + sum(none.failed) + none.abandoned).toBe(1000)
  expect(none.abandoned).toBeGreaterThan(900)
})

test('workers end and close their connections when their parent is killed', async () => {
  const held = await server()
  const args = ['--procs', '3', '--big', '60', '--linger', '1h']
  const parent = ebb(['pulse', String(held.port), ...args])
  await parent.said(/60 connected/)
  await until(() => held.clients() === 60)
  const workers = workersOf(parent.pid)
  expect(workers).toHaveLength(3)
  await parent.end('SIGKILL')
  await until(() => held.clients() === 0 && !workers.some(alive))
})

test('processesFor() returns as many processes as the descriptor limit requires', () => {
  expect(processesFor(0)).toBe(1)
  expect(processesFor(1)).toBe(1)
  const large = processesFor(10_000_000)
  expect(processesFor(20_000_000)).toBeGreaterThan(large)
})
