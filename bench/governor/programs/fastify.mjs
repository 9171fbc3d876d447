/** A Fastify app whose responses are lists of about 5 MB, built for each request. */
import Fastify from 'fastify'
import { HOST, port, reportPort } from './port.mjs'

const ROWS = 40_000

const app = Fastify()
app.get('/report', async () => {
  const rows = []
  for (let id = 0; id < ROWS; id++) {
    rows.push({
      id,
      name: `customer ${id}`,
      city: 'Springfield',
      balance: id * 1.5,
      active: id % 2 === 0,
      tags: ['a', 'b']
    })
  }
  return { at: Date.now(), rows }
})
await app.listen({ port, host: HOST })
reportPort(app.server)
