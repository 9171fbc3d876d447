/**
 * A chat over WebSocket. It shows a program on the package `ws` that stays as it is, but for the line with
 * `parkWebSockets`.
 *
 *     PORT=3000 node examples/websocket-chat.mjs
 *     npx wscat -c ws://127.0.0.1:3000
 *
 * The first message that you send is your name. Each message after it goes to everybody else. `/who` tells how many
 * people are connected, and how many of their connections are parked.
 *
 * A silent connection has no socket, but its WebSocket object stays, with the listeners and the variables below.
 * Messages and heartbeats reach it, and are sent, without a socket.
 */
import { isWebSocketParked, parkWebSockets } from 'ebb/ws'
import { WebSocketServer } from 'ws'

/** Milliseconds between two heartbeats. Whoever has not answered the last one is disconnected. */
const HEARTBEAT = 30_000

const chat = new WebSocketServer({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1', maxPayload: 4096 })
parkWebSockets(chat, { idle: '1s' })

chat.on('connection', (person) => {
  let name
  person.isAlive = true
  person.on('pong', () => {
    person.isAlive = true
  })
  person.on('message', (data) => {
    const text = data.toString().trim()
    if (text === '') return
    if (name === undefined) {
      name = text.slice(0, 32)
      others(`* ${name} joined`)
    } else if (text === '/who') {
      const people = [...chat.clients]
      person.send(`* ${people.length} are here, ${people.filter(isWebSocketParked).length} of them parked`)
    } else {
      others(`${name}: ${text}`)
    }
  })
  person.on('close', () => {
    if (name !== undefined) others(`* ${name} left`)
  })
  person.on('error', () => {})

  /** Sends to everybody else. */
  function others(text) {
    for (const other of chat.clients) if (other !== person && other.readyState === other.OPEN) other.send(text)
  }
})

const heartbeat = setInterval(() => {
  for (const person of chat.clients) {
    if (!person.isAlive) person.terminate()
    person.isAlive = false
    person.ping()
  }
}, HEARTBEAT)

chat.on('listening', () => console.log(`Listening on 127.0.0.1:${chat.address().port}`))

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    clearInterval(heartbeat)
    chat.close()
    for (const person of chat.clients) person.close(1001, 'the chat is over')
  })
}
