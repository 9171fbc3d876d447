/** A process that holds a part of a crowd. It does what its parent orders, and ends, with all it holds, when its parent does. */
import { Client } from './client.js'
import type { Order, Reply } from './crowd.js'

const PROGRESS = 250

let client: Client | undefined
let abort = new AbortController()

process.on('disconnect', () => process.exit())
// A Ctrl-C at the terminal reaches every process of the group: the parent decides what follows.
process.on('SIGINT', () => {})

setInterval(() => {
  if (client !== undefined) tell({ reply: 'progress', open: client.open, failed: client.failed })
}, PROGRESS).unref()

process.on('message', (order: Order) => {
  switch (order.order) {
    case 'start':
      client = new Client(order.options)
      tell({ reply: 'started' })
      break
    case 'connect':
      abort = new AbortController()
      void connect(order.n)
      break
    case 'abort':
      abort.abort()
      break
    case 'close':
      void client?.close(order.most).then(() => tell({ reply: 'closed' }))
      break
    case 'lost':
      tell({ reply: 'lost', lost: client?.takeLost() ?? {} })
  }
})

async function connect(n: number): Promise<void> {
  if (client === undefined) return
  const opened = await client.connect(n, abort.signal)
  tell({ reply: 'connected', opened, latency: client.latency.encoded() })
  client.latency.reset()
}

function tell(reply: Reply): void {
  // The parent is gone: `disconnect` ends this process.
  if (process.connected) process.send?.(reply, () => {})
}
