/**
 * An Express app with JSON bodies: it computes the sums of an order and answers after the delay of a database query.
 */
import { setTimeout as wait } from 'node:timers/promises'
import express from 'express'
import { HOST, port, reportPort } from './port.mjs'

/** Milliseconds of the query. */
const QUERY = 20

/**
 * @typedef {object} Order
 * @property {number} id
 * @property {readonly { price: number, count: number }[]} lines
 */

const app = express()
app.use(express.json({ limit: '1mb' }))
app.post('/orders', async (request, response) => {
  const { id, lines } = /** @type {Order} */ (request.body)
  await wait(QUERY)
  const total = lines.reduce((sum, { price, count }) => sum + price * count, 0)
  response.json({ id, total, lines: lines.map((line) => ({ ...line, sum: line.price * line.count })) })
})
const server = app.listen(port, HOST, () => reportPort(server))
