/**
 * `ebb/testing`: the parts of the library that its own end-to-end tests use.
 *
 * This entry is not covered by semantic versioning. Programs use `ebb`.
 */
export { Keeper } from './run/keeper.js'
export { type ListeningSocket, openSocket } from './socket/listening-socket.js'
export { audit, trackCreated } from './sys/audit.js'
export { ERROR_CODES, WARNING_CODES } from './sys/error-codes.js'
export { NotifySocket, notify } from './sys/notify.js'
export { parkWebSocket } from './websocket/ws/park-web-sockets.js'
