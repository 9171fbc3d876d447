/**
 * Fastify with parked connections: its `serverFactory` makes the server, and parks it.
 *
 *     PORT=3000 node examples/fastify.mjs
 *     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/stats
 */
import http from 'node:http'
import { park } from 'ebb'
import Fastify from 'fastify'

const app = Fastify({
  // Fastify sets its timeouts on servers that it makes itself: here that is for the factory to do. The connection of a
  // client that comes back within 72 seconds (Fastify's default) is still there, and costs next to nothing until then.
  serverFactory: (handler, { keepAliveTimeout }) => park(http.createServer({ keepAliveTimeout }, handler))
})

app.get('/', async (request) => {
  // `id` survives the sleep of a connection, `wakes` counts; the socket is a new one each time.
  const connection = app.server.connection(request.raw.socket)
  return { hello: 'world', connection: connection?.id, wakes: connection?.wakes }
})

app.post('/echo', async (request) => request.body)

app.get('/stats', async () => app.server.stats())

console.log(`Listening on ${await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })}`)

// Requests under way are answered; connections that are idle or parked are closed now. Then the process ends by itself.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
