/** An Express app with JSON bodies: an order comes in, is looked at and answered a little later, as a database would have it. */
import { setTimeout as wait } from 'node:timers/promises'
import express from 'express'

/** ms */
const QUERY = 20

const app = express()
app.use(express.json({ limit: '1mb' }))
app.post('/orders', async (request, response) => {
  const { id, lines } = request.body
  await wait(QUERY)
  const total = lines.reduce((sum, { price, count }) => sum + price * count, 0)
  response.json({ id, total, lines: lines.map((line) => ({ ...line, sum: line.price * line.count })) })
})
const server = app.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`Listening on ${server.address().port}`)
})
