/** Properties of a socket that are not Node's. */
import { Socket } from 'node:net'

/** What Node itself keeps on the socket of a connection, from version 20 to 26. */
const NODES = new Set([
  '_closeAfterHandlingError',
  '_events',
  '_eventsCount',
  '_hadError',
  '_handle',
  '_host',
  '_httpMessage',
  '_idleNext',
  '_idlePrev',
  '_idleStart',
  '_idleTimeout',
  '_maxListeners',
  '_parent',
  '_paused',
  '_peername',
  '_pendingData',
  '_pendingEncoding',
  '_readableState',
  '_server',
  '_sockname',
  '_writableState',
  'allowHalfOpen',
  'autoSelectFamilyAttemptedAddresses',
  'connecting',
  'domain',
  'parser',
  'resetAndClosing',
  'server',
  'timeout'
])

/** Descriptions of Node's symbols, and of those of this package. */
const NODES_SYMBOL = /^(k[A-Z]|ebb\.|nodejs\.)|_symbol$|^(lastWriteQueueSize|shapeMode|timeout)$/

/** Returns the properties that the application, or a library, has given to a socket. Replaced methods are left out. */
export function foreignProperties(socket: Socket): (string | symbol)[] {
  const names = Object.keys(socket).filter((name) => !NODES.has(name) && !(name in Socket.prototype))
  const symbols = Object.getOwnPropertySymbols(socket).filter(({ description = '' }) => !NODES_SYMBOL.test(description))
  return [...names, ...symbols]
}
