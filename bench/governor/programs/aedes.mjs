/** An MQTT broker. */
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker()
const server = createServer(broker.handle)
server.listen({ port: Number(process.env.PORT), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`Listening on ${server.address().port}`)
})
