/**
 * A parked server behind nginx. nginx keeps connections to it open between requests (`keepalive` in nginx.conf), and
 * most of them are idle most of the time: parked, they cost next to nothing here.
 *
 *     PORT=3000 node examples/nginx/server.mjs
 *     mkdir -p /tmp/ebb-nginx
 *     nginx -p /tmp/ebb-nginx -c "$PWD/examples/nginx/nginx.conf" -e stderr
 *     curl http://127.0.0.1:8080/
 */
import http from 'node:http'
import { park } from 'ebb'

const server = park(
  http.createServer(
    {
      // Longer than nginx's `keepalive_timeout` for this upstream. Whoever closes an idle connection first must be the
      // one that sends requests: if it is the server, a request can cross the FIN on its way, and nginx answers 502.
      // Node's default is 5 seconds, nginx's is 60.
      keepAliveTimeout: 75_000
    },
    (request, response) => {
      if (request.url === '/events') {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
        // nginx holds the client; this process holds a parked descriptor. The time follows each second, see below.
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
  // How long nginx's connections stay awake after a response. Under traffic they never get that far.
  { idle: '1s' }
)

setInterval(() => server.broadcast(`data: ${new Date().toISOString()}\n\n`), 1000).unref()

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

// Streams do not end by themselves: nginx passes the end on, and an EventSource connects again.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
