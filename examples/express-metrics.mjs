/**
 * Express with parked connections, a WebSocket hub beside it, and a handler that serves the metrics of both.
 *
 *     PORT=3000 node examples/express-metrics.mjs
 *     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/metrics
 *
 * `prometheus/` has a configuration of Prometheus, rules and a dashboard for Grafana.
 */
import http from 'node:http'
import { govern, park } from 'ebb'
import { metrics } from 'ebb/metrics'
import { hibernate } from 'ebb/websocket'
import express from 'express'

/** A handler: answers with all metrics. */
function metricsHandler(all) {
  return (_request, response) => {
    response.setHeader('content-type', all.contentType)
    response.end(all.text())
  }
}

const app = express()
const server = park(http.createServer(app))
// The WebSockets of `/hub` belong to the same server, so they count as its connections.
const hub = hibernate(server, { message: (socket, data) => socket.send(data) }, { path: '/hub' })
const all = metrics({ servers: { web: server }, governor: govern() })

app.get('/metrics', metricsHandler(all))
app.get('/', (_request, response) => {
  response.json({ hello: 'world' })
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on http://127.0.0.1:${server.address().port}`)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    server.close()
    await hub.close()
    all.stop()
  })
}
