/**
 * A parked server behind nginx. nginx keeps connections to the server open between requests (`keepalive` in
 * nginx.conf). Most of them are idle most of the time. While they are parked, they cost this process almost nothing.
 *
 *     PORT=3000 node examples/nginx/server.mjs
 *     mkdir -p /tmp/ebb-nginx
 *     nginx -p /tmp/ebb-nginx -c "$PWD/examples/nginx/nginx.conf" -e stderr
 *     curl http://127.0.0.1:8080/
 *
 * The response contains the id of nginx's connection and how often it has woken. `/stats` shows how many connections
 * are parked. `/events` sends the time every second over a parked connection.
 */
import http from 'node:http'
import { park } from 'ebb'

const server = park(
  http.createServer(
    {
      // Longer than nginx's `keepalive_timeout` for this upstream, so that nginx closes idle connections first. If the
      // server closed them first, a request could cross the FIN on its way, and nginx would answer 502. Node's default
      // is 5 s; nginx's default is 60 s.
      keepAliveTimeout: 75_000
    },
    (request, response) => {
      if (request.url === '/events') {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
        // From here on, this process holds only a parked descriptor. The timer below sends the time every second.
        server.stream(response)
      } else if (request.url === '/stats') {
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify(server.stats()))
      } else {
        const connection = server.connection(request.socket)
        response.setHeader('content-type', 'application/json')
        response.end(
          JSON.stringify({
            from: request.headers['x-forwarded-for'],
            connection: connection?.id,
            wakes: connection?.wakes
          })
        )
      }
    }
  ),
  // Time without a request after which a connection is parked. Busy connections are never idle for that long.
  { idle: '1s' }
)

setInterval(() => server.broadcast(`data: ${new Date().toISOString()}\n\n`), 1000).unref()

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

// Streams do not end by themselves, so `close()` alone would never finish. An EventSource reconnects.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
