/**
 * Fastify with parked connections. The option `serverFactory` creates the server with `park()`.
 *
 *     PORT=3000 node examples/fastify.mjs
 *     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/stats
 *
 * `/` returns the id of the connection and how often it has woken. `/stats` returns how many connections are parked.
 */
import http from 'node:http'
import { park } from 'ebb'
import Fastify from 'fastify'

const app = Fastify({
  // Fastify sets timeouts only on servers that it creates itself, so the factory passes `keepAliveTimeout` on.
  // Fastify's default keeps an idle connection for 72 s. While it is parked, it costs almost nothing.
  serverFactory: (handler, { keepAliveTimeout }) => park(http.createServer({ keepAliveTimeout }, handler))
})

app.get('/', async (request) => {
  // A parked connection wakes with a new socket. `id` stays the same, and `wakes` increases.
  const connection = app.server.connection(request.raw.socket)
  return { hello: 'world', connection: connection?.id, wakes: connection?.wakes }
})

app.post('/echo', async (request) => request.body)

app.get('/stats', async () => app.server.stats())

console.log(`Listening on ${await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })}`)

// Answers the requests in progress, and closes idle and parked connections at once. Then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
