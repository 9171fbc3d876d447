/** `server.shutdown()` and WebSockets: the closing handshake with code 1001, parked and awake. */
import { once } from 'node:events'
import http from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import { type Parked, park } from 'ebb'
import { parkWebSockets } from 'ebb/ws'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { closed, openPair, type Pair, socketOf } from '../support/web-socket-pairs.js'

interface Running {
  server: http.Server & Parked
  webSockets: WebSocketServer
  /** Opens a connection. @returns both ends */
  open(parked: boolean): Promise<Pair>
}

async function serve(): Promise<Running> {
  const server = park(http.createServer())
  const webSockets = parkWebSockets(new WebSocketServer({ server }), { idle: '1h' })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    server,
    webSockets,
    open: (parked) => openPair(server, webSockets, parked)
  }
}

test('peers get code 1001; who answers has finished', async () => {
  const { server, open } = await serve()
  const all = [await open(true), await open(false), await open(true)]
  const codes = all.flatMap(({ client, peer }) => [closed(client), closed(peer)])
  const report = await server.shutdown({ grace: '1m' })
  expect(await Promise.all(codes)).toEqual([1001, 1001, 1001, 1001, 1001, 1001])
  expect(report).toMatchObject({ finished: 3, idle: 0, cut: 0 })
})

test('what the server has sent before arrives first, even to a slow reader', async () => {
  const { server, open } = await serve()
  const { client, peer } = await open(true)
  client.pause()
  let sent = 0
  while (peer.bufferedAmount === 0) {
    peer.send(Buffer.alloc(500_000))
    sent++
  }
  let received = 0
  client.on('message', () => received++)
  const code = closed(client)
  const report = server.shutdown({ grace: '1m' })
  while (peer.readyState === WebSocket.OPEN) await turn()
  client.resume()
  expect([await code, received]).toEqual([1001, sent])
  expect(await report).toMatchObject({ finished: 1, cut: 0 })
})

test('a peer that does not answer is cut when the grace is over', async () => {
  const { server, open } = await serve()
  const all = [await open(true), await open(false)]
  for (const { client } of all)
    socketOf(client)
      .removeAllListeners('data')
      .on('data', () => {})
  const codes = all.map(({ peer }) => closed(peer))
  expect(await server.shutdown({ grace: 100 })).toMatchObject({ finished: 0, cut: 2 })
  expect(await Promise.all(codes)).toEqual([1006, 1006])
})

test('without a grace, peers get the code all the same', async () => {
  const { server, open } = await serve()
  const all = [await open(true), await open(false)]
  const codes = all.map(({ client }) => closed(client))
  expect(await server.shutdown({ grace: 0 })).toMatchObject({ finished: 0, cut: 2 })
  expect(await Promise.all(codes)).toEqual([1001, 1001])
})

test('a closing handshake that has begun keeps its code', async () => {
  const { server, open } = await serve()
  const all = [await open(true), await open(false)]
  const codes = all.flatMap(({ client, peer }) => [closed(client), closed(peer)])
  for (const { peer } of all) peer.close(1012, 'restart')
  await server.shutdown({ grace: '1m' })
  expect(await Promise.all(codes)).toEqual([1012, 1012, 1012, 1012])
})

test('after close(), and while messages still arrive', async () => {
  const { server, open } = await serve()
  const { client, peer } = await open(true)
  server.close()
  await turn()
  expect(peer.readyState).toBe(WebSocket.OPEN)
  const heard: string[] = []
  peer.on('message', (data) => heard.push(String(data)))
  const code = closed(client)
  client.send('last')
  await server.shutdown({ grace: '1m' })
  expect([await code, heard]).toEqual([1001, ['last']])
})
