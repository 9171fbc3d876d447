/** More clients than descriptors: accepted clients are served, the others wait, and none is lost. */
import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { Child, FEW_DESCRIPTORS } from '../../../../test/support/child.js'
import { client, clients, readExactly, until } from '../../../../test/support/sockets.js'
import type { AddressInfo } from '../sys/sockaddr.js'

/** The report of the server. `cpu` and `now` are in ms. */
interface Report {
  clients: number
  accepted: number
  accepting: boolean
  errors: { code: string; message: string }[]
  cpu: number
  now: number
}

/** An echo server that reports, and uses up and frees descriptors, on command. */
const SERVER = `
  import { closeSync, openSync } from 'node:fs'
  import { createInterface } from 'node:readline'
  import { listen } from 'ebb'
  const errors = []
  const taken = []
  const listener = listen({ port: 0, giveBack: false }, {
    data: (connection, bytes) => connection.write(bytes),
    error: ({ code, message }) => errors.push({ code, message })
  })
  const asked = {
    report() {},
    take() { try { for (;;) taken.push(openSync('/dev/null')) } catch {} },
    free() { for (const fd of taken.splice(0)) closeSync(fd) },
    'free one'() { closeSync(taken.pop()) }
  }
  console.log(JSON.stringify(listener.address))
  createInterface(process.stdin).on('line', (line) => {
    asked[line]()
    const { user, system } = process.cpuUsage()
    const { clients, accepted, accepting } = listener
    console.log(JSON.stringify({
      clients, accepted, accepting, errors, cpu: (user + system) / 1000, now: performance.now()
    }))
  })`

async function start(): Promise<{ child: Child; address: AddressInfo; ask(what: string): Promise<Report> }> {
  const child = new Child(SERVER, { shell: 'ulimit -n 256' })
  const address = await child.next<AddressInfo>()
  return { child, address, ask: (what) => child.ask<Report>(what) }
}

/** Asks for reports until one is accepted. */
async function reported(ask: (what: string) => Promise<Report>, right: (report: Report) => boolean): Promise<Report> {
  for (;;) {
    const report = await ask('report')
    if (right(report)) return report
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

test('600 clients at a limit of 256: one report, no busy loop, and all are served in the end', async () => {
  const { address, ask } = await start()
  const sockets = await clients(address, 600)
  const served = new Set<Socket>()
  for (const socket of sockets) {
    socket.write('hello')
    void readExactly(socket, 5).then(
      () => served.add(socket),
      () => {}
    )
  }
  const full = await reported(ask, ({ errors }) => errors.length > 0)
  expect(full.errors[0]?.code).toBe('EMFILE')
  expect(full.errors[0]?.message).toMatch(
    /^accept4 EMFILE: too many open files, with \d+ clients: accepting pauses at 127\.0\.0\.1:\d+ and goes on when there is room$/
  )
  await until(() => served.size === full.clients)

  // A busy loop would use a whole core.
  const before = await ask('report')
  await pause(1000)
  const after = await ask('report')
  expect((after.cpu - before.cpu) / (after.now - before.now)).toBeLessThan(0.5)
  expect(after.clients).toBe(full.clients)
  expect(served.size).toBe(full.clients)

  // Accepted clients are served meanwhile.
  const [first] = served
  first?.write('still')
  expect(`${await readExactly(first as Socket, 5)}`).toBe('still')

  // Descriptors become free one by one, then by the dozen.
  const left = new Set<Socket>()
  while (left.size < 600) {
    const leaving = [...served].filter((socket) => !left.has(socket)).slice(0, left.size < 20 ? 1 : 60)
    const goal = Math.min(600, served.size + leaving.length)
    for (const socket of leaving) {
      left.add(socket)
      socket.end()
    }
    await until(() => served.size >= goal)
  }
  expect(served.size).toBe(600)
  const end = await reported(ask, ({ clients }) => clients === 0)
  expect(end.accepted).toBe(600)
  expect(end.accepting).toBe(true)
  expect(end.errors).toHaveLength(1)
})

test('a second crowd causes a second report', async () => {
  const { address, ask } = await start()
  for (let crowd = 1; crowd <= 2; crowd++) {
    const sockets = await clients(address, 300)
    await reported(ask, ({ errors }) => errors.length === crowd)
    for (const socket of sockets) socket.destroy()
    await reported(ask, ({ accepted, clients }) => accepted === 301 * crowd - 1 && clients === 0)
    // A client that is accepted without a pause ends the last one.
    const socket = await client(address)
    socket.write('x')
    await readExactly(socket, 1)
    socket.destroy()
    await reported(ask, ({ clients }) => clients === 0)
  }
})

test('descriptors used and freed elsewhere in the process', async () => {
  const { address, ask } = await start()
  await ask('take')
  const waiting = await client(address)
  waiting.write('hello')
  await reported(ask, ({ errors }) => errors.length > 0)
  // With no connections, it retries again and again, and still reports once.
  await pause(500)
  const report = await ask('report')
  expect(report.errors).toHaveLength(1)
  expect(report.errors[0]?.message).toContain('with 0 clients')
  expect(report.clients).toBe(0)
  // No connection closes, so the retry must notice.
  await ask('free one')
  expect(`${await readExactly(waiting, 5)}`).toBe('hello')
  const next = await client(address)
  next.write('next')
  await pause(300)
  expect(await ask('report')).toMatchObject({ clients: 1, errors: [{ code: 'EMFILE' }] })
  await ask('free')
  expect(`${await readExactly(next, 4)}`).toBe('next')
  expect(await ask('report')).toMatchObject({ clients: 2, accepting: true })
})

test('closing while accepting is paused: waiting clients are refused, connected ones stay', async () => {
  const child = new Child(
    `
    import { listen } from 'ebb'
    const listener = listen({ port: 0, giveBack: false }, {
      data: (connection, bytes) => connection.write(bytes),
      error: () => console.log('"full"')
    })
    console.log(JSON.stringify(listener.address))
    process.stdin.once('data', () => {
      void listener.close().then(() => {
        console.log('"closed"')
        process.stdin.destroy()
      })
      console.log(JSON.stringify(listener.clients))
    })`,
    { shell: FEW_DESCRIPTORS }
  )
  const address = await child.next<AddressInfo>()
  const sockets = await clients(address, 200)
  expect(await child.next()).toBe('full')
  const inside = await child.ask<number>('close')
  expect(inside).toBeGreaterThan(0)
  const outcomes = await Promise.allSettled(
    sockets.map(async (socket) => {
      socket.write('x')
      await readExactly(socket, 1)
    })
  )
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(inside)
  for (const socket of sockets) socket.destroy()
  expect(await child.next()).toBe('closed')
  expect(await child.ended).toMatchObject({ code: 0, stderr: '' })
})

test('without an error handler: a process warning', async () => {
  const child = new Child(
    `
    import { listen } from 'ebb'
    process.on('warning', ({ code, message }) => console.log(JSON.stringify({ code, message })))
    console.log(JSON.stringify(listen({ port: 0 }).address))`,
    { shell: FEW_DESCRIPTORS }
  )
  await clients(await child.next<AddressInfo>(), 200)
  expect(await child.next()).toEqual({ code: 'EMFILE', message: expect.stringContaining('accepting pauses') })
})
