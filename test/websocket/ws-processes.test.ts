/** Parked WebSockets of `ws` in workers of a cluster and in worker threads. */
import cluster from 'node:cluster'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'

const SERVER = fileURLToPath(new URL('../support/ws-worker.mjs', import.meta.url))

/** Connects, and resolves when the server has parked the connection. */
async function connect(port: number): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${port}`)
  onTestFinished(() => client.terminate())
  expect(String((await once(client, 'message'))[0])).toBe('parked')
  return client
}

async function expectEcho(client: WebSocket): Promise<void> {
  client.send('hello')
  expect(String((await once(client, 'message'))[0])).toBe('hello true')
}

test('in workers of a cluster, which share a port', async () => {
  cluster.setupPrimary({ exec: SERVER, args: [] })
  const workers = [cluster.fork(), cluster.fork()]
  onTestFinished(() => {
    for (const worker of workers) worker.process.kill('SIGKILL')
  })
  const ports = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0].port as number))
  const clients = await Promise.all(ports.flatMap((port) => [connect(port), connect(port)]))
  for (const client of clients) await expectEcho(client)
  const closed = Promise.all(clients.map(async (client) => (await once(client, 'close'))[0]))
  const exits = Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0]))
  for (const worker of workers) worker.send('end')
  expect(await closed).toEqual([1001, 1001, 1001, 1001])
  expect(await exits).toEqual([0, 0])
})

test('in worker threads', async () => {
  const threads = [new Worker(SERVER), new Worker(SERVER)]
  onTestFinished(async () => {
    for (const thread of threads) await thread.terminate()
  })
  const ports = await Promise.all(threads.map(async (thread) => (await once(thread, 'message'))[0].port as number))
  const clients = await Promise.all(ports.flatMap((port) => [connect(port), connect(port)]))
  for (const client of clients) await expectEcho(client)
  const [first, second] = threads as [Worker, Worker]
  first.postMessage('end')
  expect(await once(first, 'exit')).toEqual([0])
  // Its connections end with the thread.
  const lost = clients.slice(2).map(async (client) => (await once(client, 'close'))[0])
  await second.terminate()
  expect(await Promise.all(lost)).toEqual([1006, 1006])
})
