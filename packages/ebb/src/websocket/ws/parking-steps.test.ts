/** Random steps: whatever a client sends, cut anywhere, arrives as a model says, whenever the connection is parked. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { masked } from '../testing/server.js'
import { isWebSocketParked, parkWebSocket, parkWebSockets } from './park-web-sockets.js'

type Step =
  | { name: 'message'; text: boolean; length: number; fragments: number[] }
  | { name: 'ping' | 'pong' | 'push'; length: number }
  | { name: 'park' | 'reach' | 'wait' }

const lengths = fc.oneof(fc.nat(10), fc.nat(300), fc.nat(70_000))
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      name: fc.constant('message' as const),
      text: fc.boolean(),
      length: lengths,
      fragments: fc.array(fc.nat(1000), { maxLength: 2 })
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({ name: fc.constantFrom('ping' as const, 'pong' as const), length: fc.nat(125) })
  },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('push' as const), length: lengths }) },
  { weight: 5, arbitrary: fc.record({ name: fc.constantFrom('park' as const, 'reach' as const, 'wait' as const) }) }
)

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Makes a payload that tells its number. */
function payload(number: number, length: number): Buffer {
  return Buffer.alloc(length, `${number} `)
}

/** Returns the frames of a message as a client sends them. */
function frames({ text, fragments }: Step & { name: 'message' }, bytes: Buffer): Buffer[] {
  const cuts = [0, ...fragments.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length]
  return cuts.slice(1).map((end, i) => {
    const fin = i === cuts.length - 2 ? 0x80 : 0
    return masked(fin | (i > 0 ? 0 : text ? 1 : 2), bytes.subarray(cuts[i], end))
  })
}

test('random messages, pings, pushes, cuts, sleeps and wakes', async () => {
  const server = http.createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const webSockets = parkWebSockets(new WebSocketServer({ server }), { idle: 1 })
  onTestFinished(() => {
    for (const client of webSockets.clients) client.terminate()
    server.close()
    server.closeAllConnections()
  })
  let sleeps = 0
  const property = fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.array(fc.nat(2000)), async (steps, cuts) => {
    const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const [[peer]] = (await Promise.all([once(webSockets, 'connection'), once(client, 'open')])) as [
      [WebSocket],
      unknown
    ]
    const { _socket: raw } = client as unknown as { _socket: Socket }
    const heard: string[] = []
    const echoed: string[] = []
    const show = (bytes: Buffer, binary = true) => `${binary} ${bytes.length} ${bytes.subarray(0, 12)}`
    peer.on('message', (bytes: Buffer, binary) => {
      heard.push(`message ${show(bytes, binary)}`)
      peer.send(bytes, { binary })
    })
    peer.on('ping', (bytes) => heard.push(`ping ${show(bytes)}`))
    peer.on('pong', (bytes) => heard.push(`pong ${show(bytes)}`))
    client.on('message', (bytes: Buffer, binary) => echoed.push(`message ${show(bytes, binary)}`))
    client.on('pong', (bytes) => echoed.push(`pong ${show(bytes)}`))
    const expected: string[] = []
    const returned: string[] = []
    const pushed: string[] = []
    let cut = 0
    const write = async (bytes: Buffer): Promise<void> => {
      for (let at = 0; at < bytes.length; ) {
        const size = cuts.length === 0 ? bytes.length : 1 + (cuts[cut++ % cuts.length] as number)
        raw.write(bytes.subarray(at, at + size))
        at += size
        if (cut % 3 === 0) await turn()
      }
    }
    for (const [number, one] of steps.entries()) {
      if (one.name === 'message') {
        const bytes = payload(number, one.length)
        expected.push(`message ${show(bytes, !one.text)}`)
        returned.push(`message ${show(bytes, !one.text)}`)
        for (const frame of frames(one, bytes)) await write(frame)
      } else if (one.name === 'ping' || one.name === 'pong') {
        const bytes = payload(number, one.length)
        expected.push(`${one.name} ${show(bytes)}`)
        if (one.name === 'ping') returned.push(`pong ${show(bytes)}`)
        await write(masked(one.name === 'ping' ? 0x89 : 0x8a, bytes))
      } else if (one.name === 'push') {
        const bytes = Buffer.concat([Buffer.from('push'), payload(number, one.length)])
        pushed.push(`message ${show(bytes)}`)
        peer.send(bytes)
      } else if (one.name === 'park') {
        if (parkWebSocket(peer)) sleeps++
      } else if (one.name === 'reach') void (peer as unknown as { _socket: Socket })._socket
      else await turn()
      if (isWebSocketParked(peer)) sleeps++
    }
    const closed = new Promise<unknown[]>((resolve) => peer.once('close', (...args) => resolve(args)))
    const left = once(client, 'close')
    raw.write(masked(0x88, Buffer.from([0x0f, 0xa1])))
    expect((await closed)[0]).toBe(4001)
    await left
    expect(heard).toEqual(expected)
    expect(echoed.filter((line) => !line.includes(' push'))).toEqual(returned)
    expect(echoed.filter((line) => line.includes(' push'))).toEqual(pushed)
  })
  await fc.assert(property, { numRuns: Number(process.env.EBB_RUNS ?? 60) })
  expect(sleeps).toBeGreaterThan(0)
})
