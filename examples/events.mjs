/**
 * Server-sent events by topic. A subscriber is a parked connection: an entry in the map below, and no object of Node's.
 *
 *     PORT=3000 node examples/events.mjs
 *     curl -N 'http://127.0.0.1:3000/events?topic=news'
 *     curl -d 'Hello' 'http://127.0.0.1:3000/publish?topic=news'
 *
 * In a browser: `new EventSource('/events?topic=news').onmessage = ({ data }) => console.log(data)`
 */
import http from 'node:http'
import { text } from 'node:stream/consumers'
import { park } from 'ebb'

/** The topic of each subscriber, by the id of its connection. */
const topics = new Map()

const server = park(
  http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost')
    const topic = searchParams.get('topic') ?? 'all'

    if (request.method === 'GET' && pathname === '/events') {
      // `X-Accel-Buffering` asks nginx, where one is in front, to pass events on at once.
      response.writeHead(200, {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no'
      })
      // From here the response is a stream of bytes: the connection is parked, and is written to by its id.
      const connection = server.stream(response)
      topics.set(connection.id, topic)
      connection.send(`retry: 1000\ndata: ${topic} begins\n\n`)
    } else if (request.method === 'POST' && pathname === '/publish') {
      // An event's data is lines of its own, and an empty line ends it.
      const data = (await text(request)).split(/\r\n|\r|\n/)
      const event = `${data.map((line) => `data: ${line}`).join('\n')}\n\n`
      // The filter is called for each stream. The kernel gets the bytes; nobody is woken.
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

// A subscriber that leaves, asleep or awake, is forgotten. For connections that were no subscriber's this does nothing.
server.on('disconnect', (connection) => topics.delete(connection.id))

// A comment now and then: proxies keep the connection, and clients that vanished without a word come to light.
setInterval(() => server.broadcast(':\n\n'), 15_000).unref()

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

// A stream never ends by itself, so `close()` alone would wait for all of them. Clients come back: `retry` says when.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close()
    server.closeAllConnections()
  })
}
