/** WebSocket servers for scopes.mjs: every event of a WebSocket, parked and awake, by every method that leads to it. */
import http from 'node:http'
import { park } from 'ebb'
import { isWebSocketParked, parkWebSockets } from 'ebb/ws'
import { WebSocketServer } from 'ws'
import { CLOSE, FRAGMENT, frame, LAST, NORMAL, PING, PONG, peersOf, RESERVED, TEXT } from './web-socket-peers.mjs'

/** Plays two servers. @param tools of scopes.mjs */
export async function playWebSockets(tools) {
  const { LARGE, answered, at, call, called, identified, known, sockets, until } = tools
  const before = sockets()
  /** Names of the connections, in the order in which they were opened. */
  const owners = []
  const make = (name) => {
    // One with park(), one without.
    const server = name === 'A' ? park(http.createServer(), { idle: '20ms' }) : http.createServer()
    const webSockets = parkWebSockets(new WebSocketServer({ server, maxPayload: 1000 }), { idle: '20ms' })
    webSockets.on('connection', (webSocket) => {
      const owner = `${name} ${owners.push(webSocket)}`
      known.set(owner, webSocket)
      // What `ws` is told awake gets through its receiver, which an exception of a listener would stop.
      const heard = (event) => {
        if (isWebSocketParked(webSocket)) identified(event, owner)
        at(event, owner, { mayThrow: isWebSocketParked(webSocket) })
      }
      webSocket.on('message', (data) => {
        webSocket.send(String(data))
        if (String(data) === 'close') webSocket.close(4000)
        heard('message')
      })
      webSocket.on('ping', () => heard('ping'))
      webSocket.on('pong', () => heard('pong'))
      webSocket.on('error', () => at('error', owner, { mayThrow: false }))
      webSocket.on('close', () => at('close', owner, { mayThrow: false }))
      const { _socket: socket } = webSocket
      socket.on('close', () => at('socket close', owner, { mayThrow: false }))
      socket.on('error', () => at('socket error', owner, { mayThrow: false }))
    })
    webSockets.on('close', () => at('server close', name, { mayThrow: false }))
    server.webSockets = webSockets
    return server
  }
  const [a, b] = await call('parkWebSockets() and listen()', () => ['A', 'B'].map(make))
  await call('listen()', () =>
    Promise.all([a, b].map((server) => new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))))
  )
  const allParked = () =>
    until('all parked', () => owners.every((one) => one.readyState !== 1 || isWebSocketParked(one)))
  const { open, say } = peersOf(tools, owners)

  // All in one batch, awake and asleep, several messages in a packet, and messages that wake.
  const peers = [...(await open(a, 6)), ...(await open(b, 6))]
  await say(peers, frame(TEXT, 'x'), frame(TEXT, 'y'))
  await allParked()
  await say(peers, frame(TEXT, 'x'), frame(TEXT, 'y'), frame(PING, 'p'), frame(PONG))
  await allParked()
  await say(peers, frame(TEXT, 'x'), frame(FRAGMENT, 'y'), frame(PING), frame(LAST, 'z'), frame(TEXT, 'w'))
  await allParked()

  // Every method, from a caller with stores of its own; the peers read slowly.
  for (const peer of peers) peer.pause()
  for (const [i, webSocket] of owners.entries()) {
    await call('send()', () => webSocket.send(i % 2 === 0 ? LARGE : LARGE.toString('latin1'), called('send()')))
    await call('ping()', () => webSocket.ping('', false, called('ping()')))
    await call('pong()', () => webSocket.pong())
  }
  // The rest of these bytes is sent after they are awake.
  for (const webSocket of owners.slice(0, 2)) await call('_socket', () => webSocket._socket)
  for (const peer of peers) peer.resume()
  await answered(peers, LARGE.length)
  await until('sent', () => owners.every(({ bufferedAmount }) => bufferedAmount === 0))
  await allParked()
  for (const webSocket of owners) await call('_socket', () => webSocket._socket)
  await say(peers, frame(TEXT, 'x'))
  for (const webSocket of owners) await call('pause()', () => webSocket.pause())
  for (const peer of peers) peer.write(frame(TEXT, 'x'))
  // Node calls the listeners of what has waited in the context of resume().
  for (const webSocket of owners) webSocket.resume()
  await allParked()

  // Every end, of a server with park() and of one without.
  for (const [from, server] of [
    [0, a],
    [6, b]
  ]) {
    const [closes, resets, ends, breaks, ofServer, listener] = peers.slice(from, from + 6)
    const left = server.webSockets.clients.size - 6
    closes.write(frame(CLOSE, NORMAL))
    resets.resetAndDestroy()
    ends.end()
    breaks.write(frame(RESERVED))
    await call('close()', () => owners[from + 4].close(1000))
    ofServer.write(frame(CLOSE, NORMAL))
    listener.write(Buffer.concat([frame(TEXT, 'close'), frame(TEXT, 'x'), frame(CLOSE, NORMAL)]))
    await until('closed', () => server.webSockets.clients.size === left)
  }
  const [first] = await open(a, 2)
  await open(b, 1)
  await allParked()
  await call('terminate()', () => owners.at(-1).terminate())
  first.resetAndDestroy()
  await call('terminate() awake', () => {
    void owners.at(-2)._socket
    owners.at(-2).terminate()
  })
  await until('all closed', () => [a, b].every(({ webSockets }) => webSockets.clients.size === 0))

  // The last connections end after close().
  const last = [...(await open(a, 2)), ...(await open(b, 2))]
  await allParked()
  const closed = [a, b].map((server) => new Promise((resolve) => server.once('close', resolve)))
  await call('close()', () => [a, b].map(({ webSockets }) => webSockets.close()))
  await call('shutdown()', () => a.shutdown({ grace: 0 }))
  await call('close()', () => b.close())
  for (const peer of last) peer.end()
  await Promise.all(closed)
  for (const peer of [...peers, ...last, first]) peer.destroy()
  await until('sockets closed', () => sockets() <= before)
  return [a, b].map(({ webSockets }) => webSockets.clients.size)
}
