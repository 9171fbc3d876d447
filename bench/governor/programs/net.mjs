/** A server that accepts connections and drops what they send. */
import { createServer } from 'node:net'
import { HOST, port, reportPort } from './port.mjs'

const server = createServer((socket) => socket.on('error', () => {}).resume())
server.listen({ port, host: HOST, backlog: 4096 }, () => reportPort(server))
