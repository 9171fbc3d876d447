/**
 * A worker process that holds a part of a crowd. It executes the orders of its parent. When the parent ends, the worker
 * ends too, and its connections are closed.
 */
import { Client } from './client.js'
import type { Order, Reply, WorkerArrivals } from './forked-crowd.js'
import { fromMonotonic } from './monotonic.js'

/** Milliseconds between two progress messages. */
const PROGRESS_INTERVAL = 250

let client: Client | undefined
let abort = new AbortController()

process.on('disconnect', () => process.exit())
// A Ctrl-C at the terminal reaches every process of the group. The parent decides what happens then.
process.on('SIGINT', () => {})

setInterval(() => {
  if (client === undefined) return
  const { open, failed, latencies } = client
  const isNew = latencies.connects.corrected.count > 0 || latencies.answers.corrected.count > 0
  send({ reply: 'progress', open, failed, latencies: isNew ? latencies.encoded() : null })
  latencies.reset()
}, PROGRESS_INTERVAL).unref()

process.on('message', (order: Order) => {
  switch (order.order) {
    case 'start':
      client = new Client(order.options)
      send({ reply: 'started' })
      break
    case 'connect':
      abort = new AbortController()
      void connect(order.n, order.arrivals)
      break
    case 'abort':
      abort.abort()
      break
    case 'close':
      void client?.close(order.max).then(() => send({ reply: 'closed' }))
      break
    case 'traffic':
      takeTraffic()
      break
    case 'lost':
      void takeLost()
  }
})

async function connect(n: number, { startsAt, ...arrivals }: WorkerArrivals): Promise<void> {
  if (client === undefined) return
  const start = startsAt === undefined ? {} : { start: fromMonotonic(startsAt) }
  const opened = await client.connect(n, abort.signal, { ...arrivals, ...start })
  send({ reply: 'connected', opened, latencies: client.latencies.encoded() })
  client.latencies.reset()
}

function takeTraffic(): void {
  if (client === undefined) return
  const { answers } = client.latencies
  const hasAnswers = answers.corrected.count > 0
  send({ reply: 'traffic', traffic: client.takeTraffic(), answers: hasAnswers ? answers.encoded() : null })
  answers.reset()
}

async function takeLost(): Promise<void> {
  send({ reply: 'lost', lost: (await client?.takeLost()) ?? {} })
}

function send(reply: Reply): void {
  // If the parent is gone, the `disconnect` event ends this process.
  if (process.connected) process.send?.(reply, () => {})
}
