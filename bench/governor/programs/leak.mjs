/** A program that leaks: it keeps what it made for every request. */
import { createServer } from 'node:http'
import { HOST, port, reportPort } from './port.mjs'

/** Rows of a request, each of about 100 bytes of heap. */
const ROWS = 200

/** @type {{ id: number, url: string }[][]} */
const leaked = []

const server = createServer((request, response) => {
  leaked.push(Array.from({ length: ROWS }, (_, id) => ({ id, url: `${request.url}/${leaked.length}/${id}` })))
  response.end(`${leaked.length}\n`)
})
server.listen({ port, host: HOST }, () => reportPort(server))
