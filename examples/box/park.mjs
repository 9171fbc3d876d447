/**
 * The same server with ebb: `park()` is the difference. A connection that is silent is a descriptor in the kernel.
 *
 *     node examples/box/park.mjs 8080
 */
import http from 'node:http'
import { park } from 'ebb'

const server = park(http.createServer((_request, response) => response.end('hello\n')))

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
