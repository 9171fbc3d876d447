/** `ebb/ws`: servers on the package `ws`, with idle connections parked. */
export {
  isWebSocketParked,
  parkedWebSocketServer,
  parkWebSockets,
  type WebSocketParkOptions,
  type WebSocketServerLike
} from './websocket/ws/park-web-sockets.js'
