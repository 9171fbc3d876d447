/** Every method of a WebSocket with every kind of argument: a parked one does as `ws` does. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws'
import { isWebSocketParked, parkWebSocket, parkWebSockets } from './park-web-sockets.js'

type Methods = Record<string, (...args: unknown[]) => unknown>

/** Calls a method, or sets a property. The callback notes what it gets. */
type Call = [name: string, act: (webSocket: WebSocket & Methods, callback: (error: unknown) => void) => unknown]

/** Made for each call: `ws` masks data in place. */
const DATA: [name: string, make: () => unknown][] = [
  ['a string', () => 'x'],
  ["''", () => ''],
  ['a long string', () => 'é'.repeat(70_000)],
  ['half a surrogate pair', () => 'a\ud800b'],
  ['5', () => 5],
  ['0', () => 0],
  ['NaN', () => Number.NaN],
  ['null', () => null],
  ['undefined', () => undefined],
  ['false', () => false],
  ['true', () => true],
  ['5n', () => 5n],
  ['a symbol', () => Symbol('data')],
  ['a buffer', () => Buffer.from([1, 2])],
  ['an empty buffer', () => Buffer.alloc(0)],
  ['a Uint16Array', () => new Uint16Array([1, 2])],
  ['a DataView', () => new DataView(new ArrayBuffer(4), 1, 2)],
  ['an ArrayBuffer', () => new ArrayBuffer(3)],
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(3)],
  ['an array', () => [1, 2]],
  ['an object', () => ({})],
  ['a Blob', () => new Blob(['data'])],
  ['a String object', () => Object('boxed')]
]

const OPTIONS: [string, unknown][] = [
  ['binary: true', { binary: true }],
  ['binary: false', { binary: false }],
  ['binary: undefined', { binary: undefined }],
  ['compress: false', { compress: false }],
  ['mask: true', { mask: true }],
  ['null', null],
  ['a string', 'x'],
  ['a number', 5]
]

const CODES = [
  undefined,
  null,
  0,
  1000,
  1004,
  1005,
  1006,
  1014,
  1015,
  2999,
  3000,
  4999,
  5000,
  '1000',
  Number.NaN,
  1000.5,
  {}
]
const REASONS = [
  undefined,
  null,
  '',
  'bye',
  'é'.repeat(61),
  'é'.repeat(62),
  Buffer.from('buffer'),
  5,
  {},
  [104, 105],
  true
]

const shown = (value: unknown): string => `${typeof value} ${String(value).slice(0, 10)}`

const calls: Call[] = [
  ...DATA.map(
    ([name, make]): Call => [`send(${name})`, (webSocket, callback) => webSocket.send(make() as string, callback)]
  ),
  ...DATA.flatMap(([name, make]) =>
    OPTIONS.map(
      ([options, value]): Call => [
        `send(${name}, ${options})`,
        (webSocket, callback) => (webSocket as Methods).send?.(make(), value, callback)
      ]
    )
  ),
  ...['ping', 'pong'].flatMap((method) =>
    DATA.flatMap(([name, make]): Call[] => [
      [`${method}(${name})`, (webSocket, callback) => webSocket[method]?.(make(), callback)],
      [`${method}(${name}, true)`, (webSocket, callback) => webSocket[method]?.(make(), true, callback)],
      [`${method}(${name}, undefined)`, (webSocket, callback) => webSocket[method]?.(make(), undefined, callback)]
    ])
  ),
  ...['send', 'ping', 'pong'].map(
    (method): Call => [`${method}(callback)`, (webSocket, callback) => webSocket[method]?.(callback)]
  ),
  ...CODES.flatMap((code) =>
    [...REASONS, new Uint8Array([104]), new ArrayBuffer(2), 'x'.repeat(124)].map(
      (reason): Call => [
        `close(${shown(code)}, ${shown(reason)})`,
        (webSocket) => (webSocket as Methods).close?.(code, reason)
      ]
    )
  ),
  ...['nodebuffer', 'arraybuffer', 'fragments', 'nope', undefined, 5].map(
    (type): Call => [
      `binaryType = ${String(type)}`,
      (webSocket) => {
        Object.assign(webSocket, { binaryType: type })
        return webSocket.binaryType
      }
    ]
  ),
  ...['bufferedAmount', 'extensions', 'isPaused', 'protocol', 'readyState', 'url', 'binaryType', 'onmessage'].map(
    (name): Call => [name, (webSocket) => webSocket[name]]
  ),
  ['terminate()', (webSocket) => webSocket.terminate()],
  [
    'pause() and resume()',
    (webSocket) => {
      webSocket.pause()
      const wasPaused = webSocket.isPaused
      webSocket.resume()
      return [wasPaused, webSocket.isPaused]
    }
  ],
  ['addEventListener()', (webSocket) => webSocket.addEventListener('message', () => {})]
]

/** The ping that comes after everything that a call has sent. */
const LAST = 'the last ping'

/** Makes each call on a connection of its own. @returns what came of each */
async function play(parks: boolean, options: ServerOptions): Promise<Record<string, unknown>> {
  const server = http.createServer()
  const webSockets = new WebSocketServer({ server, ...options })
  if (parks) parkWebSockets(webSockets, { idle: '1h' })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  const results: Record<string, unknown> = {}
  for (const [name, act] of calls) {
    const client = new WebSocket(url)
    const [[peer]] = (await Promise.all([once(webSockets, 'connection'), once(client, 'open')])) as [
      [WebSocket & Methods],
      unknown
    ]
    // What the server sees, and what the client gets: the order of one to the other means nothing.
    const [here, there]: [unknown[], unknown[]] = [[], []]
    const ends: Promise<unknown>[] = []
    for (const [webSocket, log] of [
      [peer, here],
      [client, there]
    ] as const) {
      webSocket.on('error', (error) => log.push(['error', error.message]))
      ends.push(
        new Promise<void>((resolve) => {
          webSocket.on('close', (code, reason) => {
            log.push(['close', code, String(reason)])
            resolve()
          })
        })
      )
    }
    const over = new Promise<void>((resolve) => {
      client.on('ping', (data) => {
        if (String(data) === LAST) resolve()
        else there.push(['ping', String(data)])
      })
      void Promise.all(ends).then(() => resolve())
    })
    client.on('pong', (data) => there.push(['pong', String(data)]))
    client.on('message', (data: Buffer, binary) => there.push([binary ? 'binary' : 'text', data.toString('latin1')]))
    while (parks && !isWebSocketParked(peer)) {
      await turn()
      parkWebSocket(peer)
    }
    try {
      here.push([
        'returns',
        act(peer, (error) => here.push(['callback', error instanceof Error ? error.message : error]))
      ])
    } catch (error) {
      here.push(['throws', error instanceof Error && [error.name, error.message]])
    }
    here.push(['state', peer.readyState])
    if (peer.readyState === WebSocket.OPEN) peer.ping(LAST)
    await over
    await turn()
    results[name] = { here: [...here], there: [...there] }
    client.terminate()
    peer.terminate()
  }
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
  return results
}

test.each<[string, ServerOptions]>([
  ['without compression', {}],
  ['compressed', { perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 } }]
])('%s', async (_, options) => {
  expect(await play(true, options)).toEqual(await play(false, options))
})
