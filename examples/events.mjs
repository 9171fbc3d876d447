/**
 * Server-sent events by topic. It shows how to keep long-lived HTTP responses parked and still write to them.
 *
 *     PORT=3000 node examples/events.mjs
 *     curl -N 'http://127.0.0.1:3000/events?topic=news'
 *     curl -d 'Hello' 'http://127.0.0.1:3000/publish?topic=news'
 *
 * `curl -N` prints each text that is published. `/stats` shows that the subscribers are parked: each of them costs a
 * descriptor in the kernel and an entry in the map below, but no object of Node.
 *
 * In a browser: `new EventSource('/events?topic=news').onmessage = ({ data }) => console.log(data)`
 */
import http from 'node:http'
import { text } from 'node:stream/consumers'
import { park } from 'ebb'

/** Topic of each subscriber, by the id of its connection. */
const topics = new Map()

const server = park(
  http.createServer(async (request, response) => {
    // `new URL('//', base)` throws, and a client may send that.
    const [pathname, query] = request.url.split('?')
    const topic = new URLSearchParams(query).get('topic') ?? 'all'

    if (request.method === 'GET' && pathname === '/events') {
      // `X-Accel-Buffering` tells an nginx in front of this server to pass events on at once.
      response.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no'
      })
      // From here on, the response is a stream of bytes: its connection is parked, and is written to by its id.
      const connection = server.stream(response)
      topics.set(connection.id, topic)
      connection.send(`retry: 1000\ndata: ${topic} begins\n\n`)
    } else if (request.method === 'POST' && pathname === '/publish') {
      // Each line of an event's data begins with `data:`. An empty line ends the event.
      const data = (await text(request)).split(/\r\n|\r|\n/)
      const event = `${data.map((line) => `data: ${line}`).join('\n')}\n\n`
      // The filter is called for each stream. The bytes go to the kernel; no connection wakes.
      const sent = await server.broadcast(event, (id) => topics.get(id) === topic)
      response.end(`${sent}\n`)
    } else if (request.method === 'GET' && pathname === '/stats') {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ subscribers: topics.size, ...server.stats() }))
    } else {
      response.writeHead(404).end()
    }
  })
)

// Forgets a subscriber whose connection has ended. Does nothing for other connections.
server.on('disconnect', (connection) => topics.delete(connection.id))

// Sends a comment every 15 s, so that proxies keep the connections and vanished clients are noticed.
setInterval(() => server.broadcast(':\n\n'), 15_000).unref()

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

// A stream does not end by itself, so `close()` alone would never finish. Clients reconnect after the time in `retry`.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
