/**
 * The cases of the Autobahn test suite without compression, under their numbers: see autobahn/cases.ts.
 *
 * `EBB_AUTOBAHN=all` plays every case. By default, the longest cases of 9 are left out, and 9.7 and 9.8 send 50
 * messages each.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cases, roundTrips } from './autobahn/cases.js'
import { closeFrame, Fuzzer, frame, NORMAL, play } from './autobahn/fuzzer.js'
import { type EchoServer, kinds } from './autobahn/servers.js'

const ALL = process.env.EBB_AUTOBAHN === 'all'
const MESSAGES = ALL ? 1000 : 50

/** Messages of 4 MiB and more, fragments below 4 KiB, and writes below 1 KiB. */
const SLOW = /^9\.(?:[12]\.[56]|[34]\.[123]|[56]\.[1234])$/
const played = cases.filter(({ id }) => ALL || !SLOW.test(id))

describe.each(kinds)('$name', ({ start, parks }) => {
  let server: EchoServer
  beforeAll(async () => {
    server = await start({ compression: false })
  })
  afterAll(() => server.close())

  test.each(played)('$id $what', async (one) => {
    const outcome = await play(one, server)
    expect(outcome).toEqual({ events: one.events(), code: one.code, clean: true })
  })

  test.each(roundTrips)(`$id ${MESSAGES} $what`, async ({ opcode, payload }) => {
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
