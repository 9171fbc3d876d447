/**
 * A publish/subscribe hub over WebSocket, without an object for any connection.
 *
 *     PORT=3000 node examples/hub.mjs
 *     npx wscat -c 'ws://127.0.0.1:3000/?topics=news,sports'
 *
 * A message is JSON:
 *
 *     { "publish": "news", "data": "rain" }     goes to all who have subscribed, as { "topic": "news", "data": "rain" }
 *     { "subscribe": ["news", "weather"] }      replaces your topics: at most 10
 *     { "count": "news" }                       tells how many have subscribed
 *
 * The text "ping" is answered with "pong", without any code here. Whoever is silent is pinged every 30 s.
 */
import { hibernate } from 'ebb/websocket'

const hub = hibernate(
  { port: Number(process.env.PORT ?? 3000) },
  {
    upgrade({ url }) {
      const topics = (new URL(`http://host${url}`).searchParams.get('topics') ?? '').split(',').filter(Boolean)
      // An exception would end the process.
      return isListOfTopics(topics) ? { tags: topics } : { status: 400, body: 'at most 10 topics of 256 characters' }
    },
    message(socket, data) {
      const { publish, data: news, subscribe, count } = parse(data)
      if (typeof publish === 'string') void hub.broadcast(JSON.stringify({ topic: publish, data: news }), publish)
      else if (isListOfTopics(subscribe)) socket.tags = subscribe
      else if (typeof count === 'string') socket.send(JSON.stringify({ topic: count, count: hub.count(count) }))
      else socket.close(1008, 'not understood')
    }
  },
  { maxPayload: 16_384, liveness: '30s', autoResponse: { request: 'ping', response: 'pong' } }
)

/** Returns what a message says; an empty object if it is not JSON. */
function parse(data) {
  try {
    return JSON.parse(data) ?? {}
  } catch {
    return {}
  }
}

function isListOfTopics(value) {
  const isTopic = (topic) => typeof topic === 'string' && topic !== '' && topic.length <= 256
  return Array.isArray(value) && value.length <= 10 && value.every(isTopic)
}

console.log(`Listening on 127.0.0.1:${hub.server.address().port}`)

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => hub.close(1001, 'the hub is over'))
