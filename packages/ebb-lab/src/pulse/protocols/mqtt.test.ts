import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import { expect, onTestFinished, test } from 'vitest'
import { descriptors, until } from '../../../../../test/support/sockets.js'
import { clientFor, portOf, rawServer } from '../testing/speaking.js'
import { Message } from './message.js'
import { MqttProtocol } from './mqtt.js'
import type { Wire } from './protocol.js'

interface Published {
  topic: string
  payload: string
  qos: number
}

/** Starts a broker that keeps what its clients do. */
async function broker(configure: (aedes: Aedes) => void = () => {}) {
  const aedes = await Aedes.createBroker()
  configure(aedes)
  const published: Published[] = []
  const ids = new Set<string>()
  const keepAlives: number[] = []
  aedes.on('publish', ({ topic, payload, qos }, client) => {
    if (client !== null) published.push({ topic, payload: payload.toString(), qos })
  })
  aedes.on('client', ({ id }) => void ids.add(id))
  aedes.on('clientDisconnect', ({ id }) => void ids.delete(id))
  aedes.preConnect = (_client, packet, done) => {
    keepAlives.push(packet.keepalive ?? 0)
    done(null, true)
  }
  onTestFinished(() => new Promise<void>((resolve) => aedes.close(resolve)))
  return { aedes, published, ids, keepAlives, port: await portOf(createServer(aedes.handle)) }
}

test('opens sessions with client identifiers of their own, and disconnects', async () => {
  const { port, ids } = await broker()
  const client = clientFor(`mqtt://127.0.0.1:${port}`, { clientId: 'phone {id}' })
  const before = descriptors()
  expect(await client.connect(20)).toMatchObject({ connected: 20, failed: {} })
  expect(ids).toEqual(new Set(Array.from({ length: 20 }, (_, id) => `phone ${id}`)))
  await client.close()
  await until(() => ids.size === 0)
  expect(await client.takeLost()).toEqual({})
  await until(() => descriptors() === before)
})

test.each([0, 1] as const)('publishes at QoS %d again and again', async (qos) => {
  const { port, published } = await broker()
  const options = { topic: 'from/{id}/{n}', payload: 'message {n} of {id}', every: 10, qos }
  const client = clientFor(`mqtt://127.0.0.1:${port}`, options)
  expect(await client.connect(3)).toMatchObject({ connected: 3, unanswered: {} })
  await until(() => published.length >= 30)
  await client.close()
  for (const one of published) {
    const [, n, id] = /^message (\d+) of ([012])$/.exec(one.payload) ?? []
    expect(one).toEqual({ topic: `from/${id}/${n}`, payload: `message ${n} of ${id}`, qos })
  }
  const { sent, answered } = client.takeTraffic()
  expect(sent).toBeGreaterThanOrEqual(30)
  if (qos === 0) expect(answered).toBe(0)
  else expect(sent - answered).toBeLessThanOrEqual(3)
})

test('the identifiers of more than 65,535 publications begin again', () => {
  const ids: number[] = []
  const wire = {
    idOf: () => 0,
    sentBy: () => 0,
    send: (_line: number, bytes: Uint8Array) => {
      // A head of two bytes, then a topic of one letter.
      if (bytes[0] === 0x32) ids.push(Buffer.from(bytes).readUInt16BE(5))
    }
  } as unknown as Wire
  const settings = {
    protocol: 'mqtt',
    clientId: 'a',
    username: null,
    password: null,
    keepAlive: 0,
    subscribe: []
  } as const
  const mqtt = new MqttProtocol(
    wire,
    { ...settings, topic: 't', qos: 1 },
    { message: new Message('x'), expectEcho: false }
  )
  mqtt.reserve(1)
  mqtt.begin(0)
  for (let i = 0; i < 65_536; i++) mqtt.speak(0)
  expect([ids.at(0), ids.at(-3), ids.at(-2), ids.at(-1)]).toEqual([2, 65_535, 2, 3])
})

const CONNACK = Buffer.from([0x20, 2, 0, 0])

test.each([0, 1] as const)('subscribes, and receives what others publish at QoS %d', async (qos) => {
  const { aedes, port } = await broker()
  const client = clientFor(`mqtt://127.0.0.1:${port}`, { subscribe: ['to/{id}', 'all/+'], qos })
  expect(await client.connect(5)).toMatchObject({ connected: 5 })
  const message = { cmd: 'publish', qos, dup: false, retain: false, payload: Buffer.from('x'.repeat(70_000)) } as const
  for (const topic of ['to/3', 'all/x', 'none']) aedes.publish({ ...message, topic }, () => {})
  let received = 0
  await until(() => {
    received += client.takeTraffic().received
    return received === 6
  })
  expect(client.open).toBe(5)
})

test('a message to a topic of its own comes back', async () => {
  const { port } = await broker()
  const options = { subscribe: ['self/{id}'], topic: 'self/{id}', payload: '{n} {id}', every: 5, expectEcho: true }
  for (const qos of [0, 1] as const) {
    const client = clientFor(`mqtt://127.0.0.1:${port}`, { ...options, qos })
    expect(await client.connect(3)).toMatchObject({ connected: 3, echoed: 3, unanswered: {} })
    let answered = 0
    await until(() => {
      answered += client.takeTraffic().answered
      return answered > 20
    })
    await client.close()
  }
})

test('pings within the keep-alive that it announces', async () => {
  const { port, keepAlives } = await broker()
  const client = clientFor(`mqtt://127.0.0.1:${port}`, { ping: 20, keepAlive: 61_000 })
  await client.connect(3)
  let pongs = 0
  await until(() => {
    pongs += client.takeTraffic().pongs
    return pongs > 10
  })
  expect(keepAlives).toEqual([61, 61, 61])
})

test('says why a session is refused', async () => {
  const { port } = await broker((aedes) => {
    aedes.authenticate = (_client, user, password, done) => {
      if (user === 'me' && password?.toString() === 'se:cret') done(null, true)
      else done(Object.assign(new Error('no'), { returnCode: user === 'you' ? 5 : 4 }) as never, false)
    }
  })
  const failed = async (user: string): Promise<unknown> =>
    (await clientFor(`mqtt://${user}@127.0.0.1:${port}`).connect(2)).failed
  expect(await failed('me:se%3Acret')).toEqual({})
  expect(await failed('me:x')).toEqual({ CONNACK_4: 2 })
  expect(await failed('you')).toEqual({ CONNACK_5: 2 })
})

test('says that a subscription is refused', async () => {
  const port = await rawServer((socket) => {
    socket.once('data', () => socket.write(CONNACK))
    socket.on('data', (data) => {
      if (data[0] === 0x82) socket.write(Buffer.from([0x90, 3, 0, 1, 0x80]))
    })
  })
  const client = clientFor(`mqtt://127.0.0.1:${port}`, { subscribe: ['a'] })
  expect(await client.connect(2)).toMatchObject({ connected: 0, failed: { SUBACK_128: 2 } })
})

test.each([
  ['another protocol', [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')], false, 'GARBAGE'],
  ['a PINGRESP first', [Buffer.from([0xd0, 0])], false, 'GARBAGE'],
  ['half a CONNACK', [Buffer.from([0x20, 2, 0])], true, 'TRUNCATED'],
  ['nothing', [], true, 'FIN'],
  ['silence', [], false, 'TIMEOUT']
])('fails if CONNECT is answered with %s', async (_, parts, ends, cause) => {
  const port = await rawServer((socket) => {
    socket.once('data', () => {
      for (const part of parts) socket.write(part)
      if (ends) socket.end()
    })
  })
  const client = clientFor(`mqtt://127.0.0.1:${port}`, { timeout: 200 })
  expect(await client.connect(2)).toMatchObject({ connected: 0, failed: { [cause]: 2 } })
})

test.each([
  ['a packet that only clients send', [0x10, 0]],
  ['a length of five bytes', [0x30, 0x80, 0x80, 0x80, 0x80, 1]],
  ['a publication without a topic', [0x30, 1, 0]],
  ['a publication whose topic is longer than it', [0x30, 3, 0, 9, 0x61]],
  ['a publication at QoS 2', [0x34, 5, 0, 1, 0x61, 0, 1]],
  ['a PINGRESP with a body', [0xd0, 1, 0]]
])('loses connections that get %s', async (_, bytes) => {
  const port = await rawServer((socket) => {
    socket.once('data', () => socket.write(Buffer.concat([CONNACK, Buffer.from(bytes)])))
  })
  const client = clientFor(`mqtt://127.0.0.1:${port}`)
  expect(await client.connect(2)).toMatchObject({ connected: 2 })
  await until(() => client.open === 0)
  expect(await client.takeLost()).toEqual({ GARBAGE: 2 })
})

test('reads packets that arrive byte by byte', async () => {
  const port = await rawServer((socket) => {
    socket.setNoDelay().once('data', () => {
      const bytes = [...CONNACK, 0x32, 6, 0, 1, 0x61, 0, 7, 0x62, 0xd0, 0]
      const next = (i: number): void => {
        if (i < bytes.length) socket.write(Buffer.from([bytes[i] as number]), () => setImmediate(next, i + 1))
      }
      next(0)
    })
  })
  const client = clientFor(`mqtt://127.0.0.1:${port}`)
  expect(await client.connect(3)).toMatchObject({ connected: 3 })
  let received = 0
  await until(() => {
    received += client.takeTraffic().received
    return received === 3
  })
})
