/** Keeps 1 GB of small objects for good, and for each connection 200 KB of them for as long as it lasts. */
import { createServer } from 'node:http'

/** About 100 bytes of heap for a row, text and number included. */
const ROWS_OF_HEAP = Math.round(Number(process.env.EBB_BENCH_HEAP ?? 1e9) / 100)
const ROWS_OF_CONNECTION = 2000

const rows = (n, from) => Array.from({ length: n }, (_, i) => ({ id: from + i, name: `row ${from + i}`, at: i * 1.5 }))

const heap = []
for (let at = 0; at < ROWS_OF_HEAP; at += 10_000) heap.push(rows(10_000, at))

const server = createServer((request, response) => {
  request.socket.rows ??= rows(ROWS_OF_CONNECTION, heap.length)
  response.end(`${request.socket.rows.length}\n`)
})
server.listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`Listening on ${server.address().port}`)
})
