/** Those who publish and subscribe. */
import mqtt from 'mqtt'
import { talk } from './talk.mjs'

talk(async (port, room, heard) => {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 })
  await client.subscribeAsync(`room${room}`)
  client.on('message', heard)
  return {
    say: (text) => client.publish(`room${room}`, text),
    leave: () => client.endAsync()
  }
})
