/** An echo server on `Bun.serve`. It answers the orders that `harness/child.mjs` sends. */
import { readFileSync } from 'node:fs'

const deflate: boolean = JSON.parse(Bun.argv[2])
const ALL = 'all'
let open = 0

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response('', { status: 400 })),
  websocket: {
    perMessageDeflate: deflate,
    idleTimeout: 0,
    open(webSocket) {
      open++
      webSocket.subscribe(ALL)
    },
    message(webSocket, data) {
      webSocket.send(data, deflate)
    },
    close() {
      open--
    }
  }
})

const orders = {
  anonymous: () => 1024 * Number(/RssAnon:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]),
  release: () => Bun.gc(true),
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
  open: () => ({ open, parked: 0 }),
  broadcast: (text: string) => server.publish(ALL, text)
}

process.on('message', ({ id, order, args }) => {
  process.send?.({ id, result: orders[order](...args) ?? null })
})
process.on('disconnect', () => process.exit())
process.send?.({ id: 0, result: server.port })
