/** All cases of the Autobahn test suite without compression, under their numbers: see autobahn/cases.ts. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cases, named, roundTrips } from './autobahn/cases.js'
import { closeFrame, Fuzzer, frame, NORMAL, play } from './autobahn/fuzzer.js'
import { type EchoServer, kinds } from './autobahn/servers.js'

/** Messages of 9.7 and 9.8. */
const MESSAGES = 1000

describe.each(kinds)('$name', ({ start, parks }) => {
  let server: EchoServer
  beforeAll(async () => {
    server = await start({ compression: false })
  })
  afterAll(() => server.close())

  test.each(named(cases))('%s %s', async (_id, _what, one) => {
    const outcome = await play(one, server)
    expect(outcome).toEqual({ events: one.events(), code: one.code, clean: true })
  })

  test.each(named(roundTrips))(`%s ${MESSAGES} %s`, async (_id, _what, { opcode, payload }) => {
    const client = await Fuzzer.connect(server.port)
    await server.settled()
    let wrong = 0
    let count = 0
    const next = (): void => {
      count++
      void client.write(count > MESSAGES ? closeFrame(NORMAL) : frame({ opcode, payload }))
    }
    client.onMessage = (message, binary) => {
      if (binary !== (opcode === 2) || !message.equals(payload)) wrong++
      next()
    }
    next()
    await client.closed
    expect([wrong, count - 1, client.outcome.code, client.outcome.clean]).toEqual([0, MESSAGES, NORMAL, true])
  })

  test('messages arrive at parked connections, if this kind parks', () => {
    expect(server.asleep() > 0).toBe(parks)
  })
})
