/**
 * A chat over WebSocket on `ws`, beside a web page of Express. The program does not know of ebb: the flag parks its
 * silent connections.
 *
 *     PORT=3000 node --import ebb/park examples/unchanged-chat.mjs
 *     npx wscat -c ws://127.0.0.1:3000
 *     curl http://127.0.0.1:3000/
 *
 * Each message goes to everybody. The page tells how many people are here.
 */
import express from 'express'
import { WebSocketServer } from 'ws'

const app = express()
const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`Listening on 127.0.0.1:${server.address().port}`)
})

const chat = new WebSocketServer({ server })
chat.on('connection', (person) => {
  person.on('message', (data) => {
    for (const other of chat.clients) other.send(data.toString())
  })
})

app.get('/', (_request, response) => {
  response.send(`${chat.clients.size} are here\n`)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const person of chat.clients) person.close(1001, 'the chat is over')
    server.close()
  })
}
