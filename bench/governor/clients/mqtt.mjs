/** Clients of an MQTT broker, each of which publishes and subscribes. */
import mqtt from 'mqtt'
import { talk } from './talk.mjs'

talk(async (port, room, onMessage) => {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 })
  await client.subscribeAsync(`room${room}`)
  client.on('message', onMessage)
  return {
    say: (text) => void client.publish(`room${room}`, text),
    leave: () => client.endAsync()
  }
})
