/** How connections end whose peer has not read everything: as with `ws` itself, parked and awake. */
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { Client, close } from '../testing/server.js'
import { type Peer, type Target, wsTarget } from '../testing/targets.js'

const targets: Target[] = []
afterEach(async () => {
  for (const target of targets.splice(0)) await target.close()
})

type Code = string | null | undefined

/** A connection whose client reads nothing, and bytes that wait for it. */
interface Stalled {
  client: Client
  peer: Peer
  /** What the callbacks of `send()` got: null, or the code of an error. */
  called: Code[]
  sent: number
  /** `readyState`, and how many callbacks were not called, in the event `close`. */
  atClose: Promise<{ state: number | undefined; pending: number }>
}

async function stalled(parks: boolean): Promise<Stalled> {
  const target = await wsTarget(parks)
  targets.push(target)
  const accepted = target.accept()
  const client = await Client.connect(target.port)
  const peer = await accepted
  while (parks && !peer.isParked()) {
    peer.park()
    await turn()
  }
  client.socket.pause()
  const called: Code[] = []
  let sent = 0
  for (let more = 3; more > 0; ) {
    sent++
    peer.send(Buffer.alloc(300_000), true, (error) => called.push(error ? (error as { code?: string }).code : error))
    if (peer.queued() > 0) more--
    // What the kernel took is reported in the next tick.
    await turn()
  }
  const atClose = new Promise<{ state: number | undefined; pending: number }>((resolve) => {
    peer.onSeen = () => {
      if (peer.seen.at(-1)?.name === 'close') resolve({ state: peer.state?.(), pending: sent - called.length })
    }
  })
  expect([peer.isParked(), called.length < sent]).toEqual([parks, true])
  return { client, peer, called, sent, atClose }
}

/** The codes that callbacks got, each once. */
const codes = (called: Code[]): Code[] => [...new Set(called)]

const isIn = (allowed: Code[]) => (found: Code[]) => found.every((one) => allowed.includes(one))

test.each([
  ['terminate()', ({ peer }: Stalled) => peer.terminate(), 'ERR_STREAM_DESTROYED'],
  ['the RST of the client', ({ client }: Stalled) => client.socket.resetAndDestroy(), 'ECONNRESET'],
  [
    'close(), then terminate()',
    ({ peer }: Stalled) => {
      peer.close(1000, '')
      peer.terminate()
    },
    'ERR_STREAM_DESTROYED'
  ]
])('%s: callbacks get an error before close is emitted', async (_, end, code) => {
  for (const parks of [false, true]) {
    const one = await stalled(parks)
    end(one)
    expect(await one.atClose).toEqual({ state: 3, pending: 0 })
    // What Node is writing is cancelled, or counts as sent, depending on its version.
    expect(codes(one.called)).toEqual(parks ? [null, code] : expect.toSatisfy(isIn([null, 'ECANCELED', code])))
    expect(one.peer.seen).toEqual([{ name: 'close', code: 1006, reason: '' }])
  }
})

test("the client's FIN: readyState is CLOSING, and what waits is sent", async () => {
  for (const parks of [false, true]) {
    const { client, peer, called, atClose } = await stalled(parks)
    client.socket.end()
    while (peer.state?.() !== 2) await turn()
    expect(peer.isParked()).toBe(parks)
    const refused = new Promise<Error>((resolve) =>
      peer.send(Buffer.from('late'), true, (error) => resolve(error as Error))
    )
    expect((await refused).message).toBe('WebSocket is not open: readyState 2 (CLOSING)')
    client.socket.resume()
    expect(await atClose).toEqual({ state: 3, pending: 0 })
    expect(codes(called)).toEqual([null])
  }
})

test('the close frame of the client: what waits is sent before the answer', async () => {
  for (const parks of [false, true]) {
    const { client, peer, called, atClose } = await stalled(parks)
    client.socket.write(close(4001, 'bye'))
    while (peer.state?.() !== 2) await turn()
    client.socket.resume()
    await client.end()
    client.socket.end()
    expect(await atClose).toEqual({ state: 3, pending: 0 })
    expect(codes(called)).toEqual([null])
    expect(peer.seen).toEqual([{ name: 'close', code: 4001, reason: 'bye' }])
    expect(client.received.subarray(-7)).toEqual(Buffer.from([0x88, 5, 0x0f, 0xa1, ...Buffer.from('bye')]))
  }
})
