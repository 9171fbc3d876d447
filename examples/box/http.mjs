/**
 * An HTTP server on plain Node that answers every request with `hello`. examples/box.yaml measures it.
 *
 *     node examples/box/http.mjs 8080
 *     curl http://127.0.0.1:8080/
 */
import http from 'node:http'

const server = http.createServer((_request, response) => response.end('hello\n'))

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
