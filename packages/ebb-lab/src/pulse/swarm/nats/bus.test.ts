/** The NATS bus against a minimal server, so that a test decides when the server answers. */
import { createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { agentSubject, serviceOf } from '../subjects.js'
import { natsBus } from './nats.js'

const INFO = `INFO ${JSON.stringify({ server_id: 'test', version: '2.9.10', max_payload: 1_048_576, headers: true })}\r\n`

/** Starts a server that accepts every client and passes each line of a client to `answer`. */
async function speaking(answer: (line: string, socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    let isIn = false
    socket.setEncoding('utf8').on('data', (text) => {
      for (const line of String(text).split('\r\n')) {
        if (isIn) answer(line, socket)
        else if (line === 'PING') {
          isIn = true
          socket.write('PONG\r\n')
        }
      }
    })
    socket.write(INFO)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `nats://127.0.0.1:${(server.address() as { port: number }).port}`
}

const AGENT = {
  subject: (id: string) => agentSubject('test', id),
  receive: () => {},
  statistics: () => ({})
}

function violation(line: string): string {
  const [, subject = '', queue] = /^SUB (\S+)(?: (\S+))? \d+$/.exec(line) ?? []
  return `-ERR 'Permissions Violation for Subscription to "${subject}"${queue === undefined ? '' : ` using queue "${queue}"`}'\r\n`
}

test('reports a refused subject, also if the answer to the flush comes later or never', async () => {
  const url = await speaking((line, socket) => {
    if (line.startsWith('SUB ')) socket.write(violation(line))
  })
  const bus = await natsBus({ url })
  await expect(bus.offer(serviceOf('test'), { protocol: '1', name: 'a' }, AGENT)).rejects.toThrow(
    /does not let this user subscribe to \$SRV\.\S+: allow it the subjects/
  )
  expect(await bus.closed).toMatchObject({ code: 'ERR_NATS' })
  await bus.close()
})

test('a close settles an offer in progress and its withdrawal', async () => {
  const url = await speaking(() => {})
  const bus = await natsBus({ url })
  const offering = bus.offer(serviceOf('test'), { protocol: '1', name: 'a' }, AGENT)
  await bus.close()
  await (await offering).withdraw()
})

test.each([{ tlsCert: '/etc/hostname' }, { tlsKey: '/etc/hostname' }])('%o alone is refused', async (options) => {
  await expect(natsBus({ url: 'tls://127.0.0.1:1', ...options })).rejects.toMatchObject({
    code: 'ERR_NATS',
    message: 'a TLS certificate and its key go together: give both'
  })
})
