/** A program that keeps 1 GB of small objects for good, and 200 KB of them for each connection until it closes. */
import { createServer } from 'node:http'
import { HOST, port, reportPort } from './port.mjs'

/** @import { Socket } from 'node:net' */

/** @typedef {{ id: number, name: string, at: number }} Row */

/** Bytes of heap that a row takes, its text and number included. */
const ROW = 100
const ROWS_OF_HEAP = Math.round(Number(process.env.EBB_BENCH_HEAP ?? 1e9) / ROW)
const ROWS_OF_CONNECTION = 2000
const BLOCK = 10_000

/**
 * @param {number} n
 * @param {number} from
 * @returns {Row[]}
 */
const rows = (n, from) => Array.from({ length: n }, (_, i) => ({ id: from + i, name: `row ${from + i}`, at: i * 1.5 }))

/** @type {Row[][]} */
const heap = []
for (let at = 0; at < ROWS_OF_HEAP; at += BLOCK) heap.push(rows(BLOCK, at))

const server = createServer((request, response) => {
  const socket = /** @type {Socket & { rows?: Row[] }} */ (request.socket)
  socket.rows ??= rows(ROWS_OF_CONNECTION, heap.length)
  response.end(`${socket.rows.length}\n`)
})
server.listen({ port, host: HOST, backlog: 4096 }, () => reportPort(server))
