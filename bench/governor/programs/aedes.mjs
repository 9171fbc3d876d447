/** An MQTT broker. */
import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import { HOST, port, reportPort } from './port.mjs'

const broker = await Aedes.createBroker()
const server = createServer(broker.handle)
server.listen({ port, host: HOST, backlog: 4096 }, () => reportPort(server))
