/**
 * Express with parked connections. One line is ebb's: `park(http.createServer(app))`.
 *
 *     PORT=3000 node examples/express.mjs
 *     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/stats
 */
import http from 'node:http'
import { park } from 'ebb'
import express from 'express'

const app = express()

// `app.listen()` would make a server of its own, without ebb. `park()` returns the server that it was given.
const server = park(http.createServer(app))

app.get('/', (request, response) => {
  // The client's keep-alive connection is parked a second after this response, and woken by its next request. `id`
  // stays the same, `wakes` counts; the socket is a new one each time.
  const connection = server.connection(request.socket)
  response.json({ hello: 'world', connection: connection?.id, wakes: connection?.wakes })
})

// Uploads, streams and slow answers are as they always were: a connection is parked only between two requests.
app.post('/echo', (request, response) => {
  request.pipe(response.type(request.get('content-type') ?? 'application/octet-stream'))
})

app.get('/stats', (_request, response) => {
  response.json(server.stats())
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

// Requests under way are answered; connections that are idle or parked are closed now. Then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => server.close())
