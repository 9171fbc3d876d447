/** Servers of hibernate() for scopes.mjs: every handler, by every method that leads to it. */
import http from 'node:http'
import { park } from 'ebb'
import { hibernate } from 'ebb/websocket'
import { CLOSE, frame, NORMAL, PING, peersOf, RESERVED, TEXT } from './web-socket-peers.mjs'

/** Plays three servers, one of each kind. @param tools of scopes.mjs */
export async function playHibernate(tools) {
  const { LARGE, answered, at, call, identified, sockets, until } = tools
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
  const { open, say } = peersOf(tools, opened)
  const paths = ['/', '/later']
  for (const hub of hubs) {
    const from = opened.length
    const peers = await open(hub.server, 7, paths)
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
    const last = await open(hub.server, 2, paths)
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
