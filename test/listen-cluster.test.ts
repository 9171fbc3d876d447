/** `listen()` in the workers of a cluster, and of a program that is started twice. */
import { expect, test } from 'vitest'
import { Child } from './support/child.js'
import { directory, freePort } from './support/sockets.js'

const WORKER = new URL('./support/listen-worker.mjs', import.meta.url).pathname

/** What the four workers of a program that is started twice say. Each listens after the one before. */
async function twice(options: object): Promise<unknown[]> {
  const said: unknown[] = []
  for (let i = 0; i < 2; i++) {
    const program = new Child(`
      import cluster from 'node:cluster'
      import { once } from 'node:events'
      cluster.setupPrimary({ execArgv: [], exec: ${JSON.stringify(WORKER)}, args: [${JSON.stringify(JSON.stringify(options))}] })
      const said = []
      for (let i = 0; i < 2; i++) said.push((await once(cluster.fork(), 'message'))[0])
      console.log(JSON.stringify(said))
    `)
    said.push(...(await program.next<unknown[]>()))
  }
  return said
}

const taken = 'EADDRINUSE'

test('a port: the first worker has it', async () => {
  const port = await freePort()
  expect(await twice({ port })).toEqual([expect.objectContaining({ port }), taken, taken, taken])
})

test('a path: the first worker has it', async () => {
  const path = `${directory()}/s`
  expect(await twice({ path })).toEqual([{ path }, taken, taken, taken])
})

test('reusePort: all have the port', async () => {
  const port = await freePort()
  expect(await twice({ port, reusePort: true })).toEqual(Array(4).fill(expect.objectContaining({ port })))
})

test('port 0: each has another port', async () => {
  const ports = (await twice({ port: 0 })).map((address) => (address as { port: number }).port)
  expect(new Set(ports).size).toBe(4)
})
