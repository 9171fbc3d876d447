/** `ebb run --keep`: however the program ends, no idle connection is lost. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ebb } from '../support/cli.js'
import { type Answer, type EchoClient, echoClients, Member, ONLY_BYTES_WAKE } from '../support/handover.js'
import { hub, hubClients } from '../support/handover-web-sockets.js'
import { directory, until } from '../support/sockets.js'
import { supervised } from '../support/supervised.js'

const COUNT = 400

/** Echoes with pid, id, wakes and attachment, and ends the process in the ways that a server may. */
const SERVERS = `
  const ends = {
    killed: () => process.kill(process.pid, 'SIGKILL'),
    uncaught: () => setImmediate(() => { throw new Error('a bug') }),
    memory: () => { for (const all = []; ; ) all.push(new Array(1e5).fill(all.length + 0.5)) },
    code: () => process.exit(7)
  }
  const servers = createServer({ ${ONLY_BYTES_WAKE} }, (socket, connection) => {
    socket.on('error', () => {}).on('data', (bytes) => {
      const text = String(bytes)
      if (text in ends) return ends[text]()
      if (text.startsWith('keep:')) connection.attachment = text
      const { id, wakes, attachment: kept } = connection
      socket.write(JSON.stringify({ pid: process.pid, id, wakes, kept, text }) + '\\n')
    })
  })
  const listen = { port: PORTS[0], host: '127.0.0.1' }
`

/** Sends one message on each connection, and checks that the answer is for it. */
async function ask(clients: readonly EchoClient[], text: (i: number) => string): Promise<Answer[]> {
  const answers = await Promise.all(clients.map((client, i) => client.ask(text(i))))
  expect(answers.map((answer) => answer.text)).toEqual(clients.map((_, i) => text(i)))
  return answers
}

test.each([
  ['kill -9', 'killed', /was ended by SIGKILL/],
  ['an uncaught exception', 'uncaught', /ended with exit code 1/],
  ['a heap that is full', 'memory', /was ended by SIGABRT|ended with exit code 134/],
  ['process.exit()', 'code', /ended with exit code 7/]
])('%s loses no idle connection, and no byte', async (_, end, how) => {
  const { cli, open } = await supervised(['--keep'], { servers: SERVERS, node: ['--max-old-space-size=64'] })
  const kept = (): number => readdirSync(`/proc/${cli.pid}/fd`).length
  const base = kept()
  const clients = await open(COUNT)
  const before = await ask(clients, (i) => (i % 2 === 0 ? `keep:${i}` : `hello ${i}`))
  for (let round = 1; round <= 2; round++) {
    // It is kept after all that the others have done before.
    const [last] = await open(1)
    await until(() => kept() >= base + COUNT + 1)
    last?.socket.write(end)
    await until(() => last?.ended === true)
    // Sent before the next process serves: it waits in the kernel.
    const after = await ask(clients, (i) => `round ${round} of ${i}`)
    expect(after.map(({ id, wakes, kept: attached }) => ({ id, wakes, attached }))).toEqual(
      before.map(({ id }, i) => ({ id, wakes: round + 1, attached: i % 2 === 0 ? `keep:${i}` : undefined }))
    )
    expect(new Set(after.map(({ pid }) => pid)).size).toBe(1)
    expect(after[0]?.pid).not.toBe(before[0]?.pid)
  }
  expect(cli.stderr).toMatch(how)
  await cli.end('SIGTERM')
  await until(() => clients.every(({ ended }) => ended))
})

test('kill -9 loses no idle WebSocket', async () => {
  const servers = hub().replace('port: 0', 'port: PORTS[0]')
  const { cli, ports } = await supervised(['--keep'], { servers })
  const kept = (): number => readdirSync(`/proc/${cli.pid}/fd`).length
  const base = kept()
  const ready = { event: 'ready', address: { port: ports[0] as number, address: '127.0.0.1', family: 'IPv4' } } as const
  const clients = await hubClients(ready, 100)
  const before = await Promise.all(clients.map((client) => client.ask('who')))
  await hubClients(ready, 1)
  await until(() => kept() >= base + 101)
  process.kill(before[0]?.pid as number, 'SIGKILL')
  // Sent before the next process serves: it waits in the kernel.
  const after = await Promise.all(clients.map((client) => client.ask('who')))
  const pid = after[0]?.pid
  expect(pid).not.toBe(before[0]?.pid)
  expect(after).toEqual(before.map((told) => ({ ...told, pid })))
  await cli.end('SIGTERM')
  await Promise.all(clients.map((client) => client.end()))
})

test('--keeper-only keeps the connections of a process that something else starts', async () => {
  const dir = directory()
  const keepers = ebb(['run', '--keeper-only', '--dir', dir, '--procs', '2'])
  await keepers.said(/keeping the connections of 2 processes in/)
  const start = (): Member =>
    new Member(join(dir, 'handover-2.sock'), { env: { EBB_KEEPER: join(dir, 'keeper-2.sock') } })
  let member = start()
  const ready = await member.expect('ready')
  const base = readdirSync(`/proc/${keepers.pid}/fd`).length
  const clients = await echoClients(ready, 100)
  const before = await Promise.all(clients.map((client) => client.ask('keep:x')))
  await echoClients(ready, 1)
  await until(() => readdirSync(`/proc/${keepers.pid}/fd`).length > base + 100)
  member.process.kill('SIGKILL')
  await member.ended
  const answers = clients.map((client) => client.ask('still?'))
  member = start()
  expect((await member.expect('ready')).from).toMatchObject({ connections: 101 })
  const after = await Promise.all(answers)
  expect(after.map(({ id, kept }) => ({ id, kept }))).toEqual(before.map(({ id }) => ({ id, kept: 'x' })))
  // The end of the keeper is not the end of the server.
  expect(await keepers.end('SIGTERM')).toMatchObject({ code: 0 })
  expect(readdirSync(dir)).toEqual(['handover-2.sock'])
  expect((await clients[0]?.ask('still?'))?.pid).toBe(member.process.pid)
})
