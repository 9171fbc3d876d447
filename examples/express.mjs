/**
 * Express with parked connections. Only one line is special: `park(http.createServer(app))`.
 *
 *     PORT=3000 node examples/express.mjs
 *     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/stats
 *
 * `/` returns the id of the connection and how often it has woken. `/stats` returns how many connections are parked.
 */
import http from 'node:http'
import { park } from 'ebb'
import express from 'express'

const app = express()

// `app.listen()` would create another server, without ebb. `park()` returns the server that it was given.
const server = park(http.createServer(app))

app.get('/', (request, response) => {
  // The client's keep-alive connection is parked a second after this response. Its next request wakes it, with a new
  // socket. `id` stays the same, and `wakes` increases.
  const connection = server.connection(request.socket)
  response.json({ hello: 'world', connection: connection?.id, wakes: connection?.wakes })
})

// Uploads, streams and slow responses work as before, because a connection is parked only between two requests.
app.post('/echo', (request, response) => {
  request.pipe(response.type(request.get('content-type') ?? 'application/octet-stream'))
})

app.get('/stats', (_request, response) => {
  response.json(server.stats())
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

// Answers the requests in progress, and closes idle and parked connections at once. Then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => server.close())
