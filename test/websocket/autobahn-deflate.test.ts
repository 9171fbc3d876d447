/**
 * Cases 12 and 13 of the Autobahn test suite: compressed messages that come back, with different payloads and
 * parameters. The payloads are of the same kinds as those of the suite, but not the same.
 *
 * `EBB_AUTOBAHN=all` plays every case with 1000 messages. By default, a sample of the sizes is sent 5 times each.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fragmented, named } from './autobahn/cases.js'
import { Compression, OFFERS, offerHeader, PAYLOADS, SIZES } from './autobahn/deflate.js'
import { closeFrame, Fuzzer, frame, NORMAL } from './autobahn/fuzzer.js'
import { type EchoServer, kinds } from './autobahn/servers.js'

const ALL = process.env.EBB_AUTOBAHN === 'all'
const MESSAGES = ALL ? 1000 : 5
const RSV1 = 4

/** A case. */
interface DeflateCase {
  id: string
  what: string
  header: string
  payload: (typeof PAYLOADS)[number]
  length: number
  fragment: number
}

/** Cases of one group, one for each size. */
function group(name: string, header: string, payload: (typeof PAYLOADS)[number], sizes = SIZES): DeflateCase[] {
  return sizes.map(([length, fragment], i) => ({
    id: `${name}.${i + 1}`,
    what: `${MESSAGES} messages of ${length} bytes, ${payload.what}${fragment === 0 ? '' : `, in fragments of ${fragment}`}`,
    header,
    payload,
    length,
    fragment
  }))
}

const [JSON_DATA] = PAYLOADS as [(typeof PAYLOADS)[number]]
const PLAIN_OFFER = offerHeader([[false, 0]])
const SAMPLE = SIZES.filter(([length, fragment]) => (fragment === 0 ? length >= 1024 : length <= 16_384))

const cases = [
  ...PAYLOADS.flatMap((payload, i) => group(`12.${i + 1}`, PLAIN_OFFER, payload)),
  ...OFFERS.flatMap((offers, i) => group(`13.${i + 1}`, offerHeader(offers), JSON_DATA)),
  // Not in the test suite: the client keeps its window, too.
  ...OFFERS.flatMap((offers, i) => group(`window kept, 13.${i + 1}`, offerHeader(offers, false), JSON_DATA, SAMPLE))
]
/** Sizes from 1 KiB to 128 KiB, in one frame and in fragments. */
const played = cases.filter(({ id }) => ALL || /\.(?:1|4|6|8|10|11|16)$/.test(id))

describe.each(kinds.filter(({ compresses }) => compresses))('$name', ({ start, parks }) => {
  let server: EchoServer
  beforeAll(async () => {
    server = await start({ compression: true })
  })
  afterAll(() => server.close())

  test.each(named(played))('%s %s', async (_id, _what, { header, payload, length, fragment }) => {
    let compression: Compression | undefined
    const client = await Fuzzer.connect(server.port, [header], (accepted) => {
      compression = new Compression(accepted)
      return compression.receiverOptions
    })
    await server.settled()
    let sent = Buffer.alloc(0)
    let count = 0
    let wrong = 0
    const next = async (): Promise<void> => {
      if (count === MESSAGES) {
        await client.write(closeFrame(NORMAL))
        return
      }
      const from = (count++ * length) % payload.bytes.length
      sent = Buffer.concat([payload.bytes.subarray(from), payload.bytes]).subarray(0, length)
      const deflated = await (compression as Compression).deflate(sent)
      const opcode = payload.binary ? 2 : 1
      const frames = fragmented(opcode, deflated, fragment === 0 ? deflated.length : fragment, RSV1)
      await client.write(Buffer.concat(frames.map(frame)))
    }
    client.onMessage = (message, binary) => {
      if (binary !== payload.binary || !message.equals(sent)) wrong++
      void next()
    }
    await next()
    await client.closed
    expect([wrong, client.outcome.events.length]).toEqual([0, MESSAGES])
    expect([client.outcome.code, client.outcome.clean]).toEqual([NORMAL, true])
  })

  test('messages arrive at parked connections, if this kind parks', () => {
    expect(server.asleep() > 0).toBe(parks)
  })
})
