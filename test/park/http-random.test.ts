/** Random requests, cut anywhere, with pauses anywhere: plain Node and a parked server respond with the same bytes. */
import type http from 'node:http'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { IDLE, pause, type Scenario, type See, Stage, turn, warm } from '../support/parity.js'
import { descriptors, until } from '../support/sockets.js'

interface Message {
  bytes: string
  /** Answered after a pause, so whether an error of the connection comes before it depends on timing. */
  late: boolean
}

/** What happens between two pieces of the sent bytes. */
type Gap = 'nothing' | 'turn' | 'nap' | 'sleep'

interface Script {
  bytes: string
  /** Sent after a pause, because an error of the connection also breaks responses that are being sent. */
  last: string
  /** Where the bytes are cut, in thousandths of their length, and what happens there. */
  cuts: [at: number, gap: Gap][]
  /** Whether the last packet has the FIN. */
  joined: boolean
  from: 'fresh' | 'parked' | 'awake'
}

const path = fc.constantFrom('/', '/a', '/a/long/path?with=a&query=string')
const headers = fc.constantFrom(
  '',
  'X-A: b\r\n',
  'Cookie: a=b; c=d\r\nAccept: */*\r\n',
  `X-Long: ${'x'.repeat(3000)}\r\n`
)
const body = fc.constantFrom('', 'a', 'hello', '\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n', 'x'.repeat(70_000))

const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ path, headers, method: fc.constantFrom('GET', 'HEAD', 'DELETE') }).map(({ path, headers, method }) => ({
    bytes: `${method} ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`,
    late: false
  })),
  fc
    .record({ headers })
    .map(({ headers }) => ({ bytes: `GET /late HTTP/1.1\r\nHost: x\r\n${headers}\r\n`, late: true })),
  fc
    .record({ path: fc.constantFrom('/', '/early', '/late', '/large'), headers, body, expects: fc.boolean() })
    .map(({ path, headers, body, expects }) => ({
      bytes: `POST ${path} HTTP/1.1\r\nHost: x\r\n${headers}${expects ? 'Expect: 100-continue\r\n' : ''}Content-Length: ${body.length}\r\n\r\n${body}`,
      late: path === '/late'
    })),
  fc
    .record({ path: fc.constantFrom('/', '/early'), headers, chunks: fc.array(body, { maxLength: 4 }) })
    .map(({ path, headers, chunks }) => ({
      bytes: `PUT ${path} HTTP/1.1\r\nHost: x\r\n${headers}Transfer-Encoding: chunked\r\n\r\n${chunks
        .filter((chunk) => chunk !== '')
        .map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`)
        .join('')}0\r\nX-Trailer: t\r\n\r\n`,
      late: false
    })),
  fc.constant({ bytes: '\r\n', late: false })
)

/** Time (ms) after which a connection that has not ended is considered lost. */
const PATIENCE = 10_000

/** Turns of the event loop in which the server reads and answers all that was sent. */
const TURNS = 100

/** How a stream of messages ends. */
const last = fc.constantFrom(
  '',
  '',
  '',
  'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  'GET / HTTP/1.0\r\n\r\n',
  'garbage\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: x\r\n',
  'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe',
  'G'
)

const script: fc.Arbitrary<Script> = fc
  .record({
    messages: fc.array(message, { minLength: 1, maxLength: 6 }),
    last,
    cuts: fc.array(
      fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.constantFrom<Gap>('nothing', 'turn', 'turn', 'nap', 'sleep')),
      { maxLength: 6 }
    ),
    joined: fc.boolean(),
    from: fc.constantFrom('fresh' as const, 'parked' as const, 'awake' as const)
  })
  .map(({ messages, last, cuts, joined, from }) => {
    const whole = messages.map(({ bytes }) => bytes).join('')
    const late = messages.some(({ late }) => late)
    return { bytes: whole, last: late ? '' : last, cuts: cuts.sort(([a], [b]) => a - b), joined, from }
  })

const scenario: Scenario = {
  serve: (server: http.Server, see: See) => {
    // All responses arrive, also those after the client's FIN.
    Object.assign(server, { httpAllowHalfOpen: true })
    server.on('request', async (request, response) => {
      let body = ''
      request.setEncoding('latin1').on('data', (chunk: string) => {
        body += chunk
      })
      const answer = (): void => {
        response.end(
          request.url === '/large' ? 'y'.repeat(300_000) : `[${request.method} ${request.url} ${body.length}]`
        )
      }
      if (request.url === '/early') response.end('early')
      request.on('end', async () => {
        see(`${request.url} ${body.length} ${request.rawTrailers}`, request.socket)
        if (request.url === '/late') await pause(2 * IDLE)
        if (request.url !== '/early') answer()
      })
      request.on('error', () => {})
    })
  },
  play: async () => {}
}

test('random streams of requests', async () => {
  await warm()
  const before = descriptors()
  const stages = [new Stage(scenario, false), new Stage(scenario, true)] as const
  onTestFinished(() => {
    for (const stage of stages) stage.abandon()
  })
  for (const stage of stages) await stage.listen()
  await fc.assert(
    fc.asyncProperty(fc.array(script, { minLength: 12, maxLength: 12 }), async (scripts) => {
      const [plain, parked] = await Promise.all(
        stages.map((stage) => Promise.all(scripts.map((script) => perform(stage, script))))
      )
      expect(parked).toEqual(plain)
    }),
    { numRuns: 30, endOnFailure: true }
  )
  // The connections were parked many times.
  await stages[1].stats(({ parkedAgain, accepted }) => parkedAgain > accepted / 2)
  for (const stage of stages) await stage.close()
  await until(() => descriptors() <= before)
  expect(descriptors()).toBe(before)
})

/** Runs a script with one client, and returns all bytes that it received. */
async function perform(stage: Stage, { bytes, last, cuts, joined, from }: Script): Promise<string> {
  const client = await stage.open()
  if (from !== 'fresh') await client.get('/warm')
  if (from === 'parked') await pause(3 * IDLE)
  let at = 0
  for (const [thousandth, gap] of cuts) {
    const end = Math.floor((bytes.length * thousandth) / 1000)
    if (end > at) void client.send(bytes.slice(at, end))
    at = end
    if (gap === 'turn') await turn()
    if (gap === 'nap') await pause(IDLE / 2)
    if (gap === 'sleep') await pause(3 * IDLE)
  }
  if (joined && last === '') client.fin(bytes.slice(at))
  else {
    void client.send(bytes.slice(at))
    await pause(3 * IDLE)
    // After a stop of the event loop, the pause is over before anything was read.
    for (let i = 0; i < TURNS; i++) await turn()
    if (joined) client.fin(last)
    else void client.send(last)
    await pause(3 * IDLE)
    client.fin()
  }
  const ended = await Promise.race([client.over(), pause(PATIENCE)])
  client.socket.destroy()
  return `${client.received.replace(/^Date: .*\r$/gm, 'Date: -\r')} ${ended}`
}
