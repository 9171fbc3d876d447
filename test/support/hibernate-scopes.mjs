/** Servers of hibernate() for scopes.mjs: every handler, by every method that leads to it. */
import http from 'node:http'
import { park } from 'ebb'
import { hibernate } from 'ebb/websocket'

/** A frame as a client sends it, with the mask 0. */
function frame(first, payload = '') {
  const bytes = Buffer.from(payload)
  return Buffer.concat([Buffer.from([first, 0x80 | bytes.length, 0, 0, 0, 0]), bytes])
}

const [TEXT, CLOSE, PING, RESERVED] = [0x81, 0x88, 0x89, 0x83]
const NORMAL = Buffer.from([0x03, 0xe8])

const request = (path) =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: x',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    '\r\n'
  ].join('\r\n')

/** Plays three servers, one of each kind. @param tools of scopes.mjs */
export async function playHibernate({ LARGE, answered, at, call, dials, identified, sockets, until }) {
  const before = sockets()
  const opened = []
  let upgrades = 0
  const make = (name) => {
    const ownerOf = ({ id }) => `${name} ${id}`
    const heard = (event, socket) => {
      identified(event, ownerOf(socket))
      at(event, ownerOf(socket))
    }
    const handlers = {
      upgrade({ url }) {
        // Nobody knows the connection yet.
        at('upgrade', `${name} upgrade ${++upgrades}`, { mayThrow: false })
        return url === '/later' ? new Promise((resolve) => setTimeout(resolve, 5, true)) : true
      },
      open(socket) {
        opened.push(socket)
        heard('open', socket)
      },
      message(socket, data) {
        if (data === 'close') socket.close(4000)
        else socket.send(data)
        heard('message', socket)
      },
      close: (socket) => heard('close', socket),
      error: (socket) => heard('error', socket),
      drain: (socket) => heard('drain', socket)
    }
    const options = {
      autoResponse: { request: 'ping', response: 'pong' },
      maxPayload: 1000,
      maxQueued: 2 * LARGE.length
    }
    if (name === 'C') return hibernate({ port: 0, giveBack: false }, handlers, options)
    return hibernate(name === 'A' ? http.createServer() : park(http.createServer(), { idle: 20 }), handlers, options)
  }
  const hubs = await call('hibernate()', () => ['A', 'B', 'C'].map(make))
  await call('listen()', () =>
    Promise.all(hubs.slice(0, 2).map(({ server }) => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))))
  )
  const open = async ({ server }, count) => {
    const peers = await dials(server, count)
    const wanted = opened.length + count
    for (const [i, peer] of peers.entries()) peer.write(request(i % 2 === 0 ? '/' : '/later'))
    await until('connections', () => opened.length === wanted)
    await answered(peers, 1)
    for (const peer of peers) peer.received = 0
    return peers
  }
  const say = async (peers, ...frames) => {
    for (const peer of peers) peer.received = 0
    for (const peer of peers) peer.write(Buffer.concat(frames))
    await answered(peers, 3)
  }
  for (const hub of hubs) {
    const from = opened.length
    const peers = await open(hub, 7)
    await say(peers, frame(TEXT, 'x'), frame(TEXT, 'y'), frame(PING, 'p'), frame(TEXT, 'ping'))
    for (const peer of peers) peer.pause()
    for (const socket of opened.slice(from)) {
      await call('send()', () => socket.send(LARGE))
      await call('ping()', () => socket.ping())
    }
    await call('broadcast()', () => hub.broadcast('to all'))
    for (const peer of peers) peer.resume()
    await answered(peers, LARGE.length)
    await until('sent', () => opened.slice(from).every(({ queued }) => queued === 0))
    const [closes, resets, ends, breaks, ofProgram, terminated, listener] = peers
    closes.write(frame(CLOSE, NORMAL))
    resets.resetAndDestroy()
    ends.end()
    breaks.write(frame(RESERVED))
    await call('close()', () => opened[from + 4].close(1000))
    await call('terminate()', () => opened[from + 5].terminate())
    for (const peer of [ofProgram, terminated]) peer.write(frame(CLOSE, NORMAL))
    listener.write(Buffer.concat([frame(TEXT, 'close'), frame(TEXT, 'x'), frame(CLOSE, NORMAL)]))
    for (const peer of peers) peer.end()
    await until('closed', () => hub.size === 0)
    const last = await open(hub, 2)
    for (const peer of last) peer.on('data', () => peer.end(frame(CLOSE, NORMAL)))
    await call('close() of the hub', () => hub.close())
    await until('closed', () => hub.size === 0)
    for (const peer of [...peers, ...last]) peer.destroy()
  }
  await call('close()', () => hubs.slice(0, 2).map(({ server }) => server.close()))
  for (const { server } of hubs) server.closeAllConnections()
  await until('sockets closed', () => sockets() <= before)
  return hubs.map(({ size }) => size)
}
