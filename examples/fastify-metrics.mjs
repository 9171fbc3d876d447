/**
 * Fastify with parked connections and a plugin that serves metrics.
 *
 *     PORT=3000 node examples/fastify-metrics.mjs
 *     curl http://127.0.0.1:3000/ http://127.0.0.1:3000/metrics
 *
 * `prometheus/` has a configuration of Prometheus, rules and a dashboard for Grafana.
 */
import http from 'node:http'
import { govern, park } from 'ebb'
import { metrics } from 'ebb/metrics'
import Fastify from 'fastify'

/** A plugin: serves the metrics of the Fastify server, and stops measuring when it closes. */
async function ebbMetrics(app, { path = '/metrics', name = 'web' } = {}) {
  const all = metrics({ servers: { [name]: app.server } })
  app.get(path, async (_request, reply) => reply.type(all.contentType).send(all.text()))
  app.addHook('onClose', async () => all.stop())
}

govern()
const app = Fastify({
  serverFactory: (handler, { keepAliveTimeout }) => park(http.createServer({ keepAliveTimeout }, handler))
})
await app.register(ebbMetrics)
app.get('/', async () => ({ hello: 'world' }))

console.log(`Listening on ${await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })}`)

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())
