/**
 * The server of http.mjs with `park()`, so that a silent connection costs only its descriptor in the kernel. It answers
 * every request with `hello`. examples/box.yaml measures it.
 *
 *     node examples/box/park.mjs 8080
 *     curl http://127.0.0.1:8080/
 */
import http from 'node:http'
import { park } from 'ebb'

const server = park(http.createServer((_request, response) => response.end('hello\n')))

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
