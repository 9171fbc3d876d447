/**
 * Preloaded by the tests of the package `ws`: parks the connections of every `WebSocketServer`.
 *
 * `EBB_SUITE` says when: `plain` (never), `eager` (as soon as nothing is in progress, at each turn of the event loop),
 * or milliseconds without a byte.
 */
const Module = require('node:module')
const { parkWebSocket } = require('ebb/testing')
const { isWebSocketParked, parkedWebSocketServer } = require('ebb/ws')

const mode = process.env.EBB_SUITE
const load = Module._load
const replaced = new Map()

Module._load = function (request, ...rest) {
  const loaded = load.call(this, request, ...rest)
  if (mode === 'plain' || !/websocket-server$/.test(request) || typeof loaded !== 'function') return loaded
  if (!replaced.has(loaded)) replaced.set(loaded, classFrom(loaded))
  return replaced.get(loaded)
}

function classFrom(WebSocketServer) {
  const Parked = parkedWebSocketServer(WebSocketServer, { idle: mode === 'eager' ? '1h' : Number(mode) })
  if (mode !== 'eager') return Parked
  class Eager extends Parked {
    completeUpgrade(...args) {
      const callback = args.pop()
      super.completeUpgrade(...args, (webSocket, request) => {
        callback(webSocket, request)
        process.nextTick(parkAlways, webSocket)
      })
    }
  }
  Object.defineProperty(Eager, 'name', { value: WebSocketServer.name })
  return Eager
}

function parkAlways(webSocket) {
  if (webSocket.readyState !== webSocket.OPEN) return
  if (!isWebSocketParked(webSocket)) parkWebSocket(webSocket)
  setImmediate(parkAlways, webSocket).unref()
}
