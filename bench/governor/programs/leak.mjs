/** Leaks: what it made for a request is never forgotten. */
import { createServer } from 'node:http'

/** About 100 bytes of heap each. */
const ROWS = 200

const leaked = []

const server = createServer((request, response) => {
  leaked.push(Array.from({ length: ROWS }, (_, id) => ({ id, url: `${request.url}/${leaked.length}/${id}` })))
  response.end(`${leaked.length}\n`)
})
server.listen({ port: Number(process.env.PORT), host: '127.0.0.1' }, () => {
  console.log(`Listening on ${server.address().port}`)
})
