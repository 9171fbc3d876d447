import fc from 'fast-check'
import { expect, test } from 'vitest'
import { emptyTraffic } from '../traffic.js'
import {
  agentMessageSchema,
  beatSchema,
  decode,
  encode,
  MAX_MESSAGE,
  MessageError,
  offerSchema,
  orderSchema,
  PROTOCOL
} from './messages.js'

const ID = 'a1'.repeat(16)
const HEAD = { v: PROTOCOL, from: ID, lease: ID, seq: 1 }
const CONNECT = { ...HEAD, order: 'connect', pulse: 0, n: 10, of: 40, at: 1234.5 }
const BEGIN = {
  ...HEAD,
  order: 'begin',
  n: 10,
  how: {
    server: { host: '10.0.0.1', port: 80 },
    rate: null,
    timeout: 1,
    close: 'fin',
    payload: null,
    active: 1,
    expectEcho: false
  },
  ids: { first: 0, count: 10, next: 10, step: 1 }
}
/** Returns the order BEGIN whose server speaks. */
const speaking = (protocol: object, how: object = {}) => ({
  ...BEGIN,
  how: { ...BEGIN.how, ...how, server: { ...BEGIN.how.server, protocol } }
})
const HTTP = { protocol: 'http', host: 'a:80', path: '/{id}', method: 'GET', headers: [['a', 'b']], body: null }
const WS = { protocol: 'ws', host: 'a', path: '/', headers: [], subprotocols: ['chat'] }
const MQTT = {
  protocol: 'mqtt',
  clientId: 'c-{id}',
  username: 'u',
  password: null,
  keepAlive: 0,
  subscribe: ['a/+'],
  topic: null,
  qos: 1
}
const TLS = { servername: 'a', insecure: false, resume: true }
const ANSWER = {
  v: PROTOCOL,
  agent: ID,
  lease: ID,
  tell: 'answer',
  seq: 1,
  answer: 'connected',
  opened: {
    connected: 10,
    failed: { ECONNREFUSED: 1 },
    abandoned: 0,
    late: 0,
    replaced: 0,
    echoed: 0,
    unanswered: {},
    ms: 1.5
  },
  latencies: { connects: { corrected: 'abc', uncorrected: null }, answers: null },
  answered: 0,
  began: 5
}
const TRAFFIC = { ...emptyTraffic(), statuses: { 200: 1 } }
const SCHEMAS = [orderSchema, agentMessageSchema, beatSchema]

test('messages are decoded as they were encoded', () => {
  for (const message of [CONNECT, BEGIN, { ...HEAD, order: 'abort' }])
    expect(decode(orderSchema, encode(message))).toEqual(message)
  const { opened, latencies, began, ...head } = ANSWER
  const traffic = { ...head, answer: 'traffic', traffic: TRAFFIC, answers: null, answered: 0 }
  for (const message of [ANSWER, traffic]) expect(decode(agentMessageSchema, encode(message))).toEqual(message)
})

test.each([
  ['HTTP', speaking(HTTP, { every: 0 })],
  ['WebSocket', speaking(WS, { payload: 'YQ==', isText: true, every: 10, ping: 20 })],
  ['MQTT', speaking(MQTT)],
  ['TLS', { ...BEGIN, how: { ...BEGIN.how, server: { ...BEGIN.how.server, text: 'tls://10.0.0.1:80', tls: TLS } } }]
])('an order may say how to speak %s', (_, order) => {
  expect(decode(orderSchema, encode(order))).toEqual(order)
})

test('no order carries a certificate or a key', () => {
  const server = { ...BEGIN.how.server, tls: { ...TLS, ca: 'c', cert: 'c', key: 'k' } }
  const decoded = decode(orderSchema, encode({ ...BEGIN, how: { ...BEGIN.how, server } }))
  expect(decoded).toMatchObject({ how: { server: { tls: TLS } } })
  expect(JSON.stringify(decoded)).not.toMatch(/"(ca|cert|key)"/)
})

test('an order to record cannot carry a command', () => {
  const order = { ...HEAD, order: 'record', connections: 1 }
  expect(decode(orderSchema, encode({ ...order, command: ['sh', '-c', 'id'] }))).toEqual(order)
})

/** Valid messages with one mistake each. */
const WRONG: [what: string, message: unknown, says: RegExp][] = [
  ['an older version', { ...CONNECT, v: PROTOCOL - 1 }, new RegExp(`version ${PROTOCOL - 1} .* version ${PROTOCOL}`)],
  ['a newer version', { ...CONNECT, v: PROTOCOL + 1 }, new RegExp(`version ${PROTOCOL + 1}`)],
  ['no version', { ...CONNECT, v: undefined }, /./],
  ['an unknown order', { ...CONNECT, order: 'format' }, /order/],
  ['too many', { ...CONNECT, n: 10_000_001 }, /n:/],
  ['less than none', { ...CONNECT, n: -1 }, /n:/],
  ['half a connection', { ...CONNECT, n: 0.5 }, /n:/],
  ['no number', { ...CONNECT, at: null }, /at:/],
  ['an id that is a subject', { ...CONNECT, from: 'a.b.>'.repeat(5) }, /from:/],
  ['a short secret', { ...CONNECT, lease: 'x' }, /lease:/],
  ['port 0', { ...BEGIN, how: { ...BEGIN.how, server: { host: 'a', port: 0 } } }, /how\.server\.port:/],
  ['a path', { ...BEGIN, how: { ...BEGIN.how, server: { path: '/run/docker.sock' } } }, /how\.server/],
  ['a negative rate', { ...BEGIN, how: { ...BEGIN.how, rate: -1 } }, /how\.rate:/],
  ['a name that moves the cursor', { ...HEAD, order: 'lease', who: '\u001b[2J' }, /who:/],
  ['a name that turns the writing', { ...HEAD, order: 'lease', who: 'a\u202eb' }, /who:/],
  ['no numbers of connections', { ...BEGIN, ids: undefined }, /ids:/],
  ['an unknown protocol', speaking({ protocol: 'ftp' }), /protocol/],
  ['a path without a slash', speaking({ ...HTTP, path: 'a' }), /path:/],
  ['two requests in one path', speaking({ ...HTTP, path: '/ HTTP/1.1\r\na: b' }), /path:/],
  ['two lines in a host', speaking({ ...WS, host: 'a\r\nb' }), /host:/],
  ['no method', speaking({ ...HTTP, method: 'GET / ' }), /method:/],
  ['two lines in a header', speaking({ ...HTTP, headers: [['a', 'b\r\nc: d']] }), /headers\.0\.1:/],
  ['a header without a name', speaking({ ...WS, headers: [['', 'b']] }), /headers\.0\.0:/],
  ['101 headers', speaking({ ...WS, headers: Array.from({ length: 101 }, () => ['a', 'b']) }), /headers:/],
  ['a header of 20,000 bytes', speaking({ ...WS, headers: [['a', 'b'.repeat(20_000)]] }), /headers\.0\.1:/],
  ['a body of 100,000 bytes', speaking({ ...HTTP, body: 'b'.repeat(100_000) }), /body: it must be 96 KiB/],
  ['a subprotocol that is none', speaking({ ...WS, subprotocols: ['a b'] }), /subprotocols\.0:/],
  ['a quality of service of 2', speaking({ ...MQTT, qos: 2 }), /qos:/],
  ['a topic with a wildcard', speaking({ ...MQTT, topic: 'a/#' }, { payload: 'YQ==' }), /topic:/],
  ['a topic without a message', speaking({ ...MQTT, topic: 'a' }), /how: MQTT needs a topic and a payload/],
  ['a message without a topic', speaking(MQTT, { payload: 'YQ==' }), /how: MQTT needs a topic and a payload/],
  ['a ping without a pause', speaking(WS, { ping: 0 }), /ping:/],
  ['a time before now', speaking(HTTP, { every: -1 }), /every:/],
  ['nothing', null, /./],
  ['a list', [], /./],
  ['a number', 7, /./]
]

test.each(WRONG)('rejects a message with %s', (_, message, says) => {
  expect(() => decode(orderSchema, Buffer.from(JSON.stringify(message)))).toThrow(says)
})

test.each([
  ['causes that are a prototype', { ...ANSWER, opened: { ...ANSWER.opened, failed: JSON.parse('{"__proto__ x":1}') } }],
  ['causes that objects have already', { ...ANSWER, opened: { ...ANSWER.opened, failed: { toString: 1 } } }],
  [
    'ten thousand causes',
    {
      ...ANSWER,
      opened: { ...ANSWER.opened, failed: Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`E${i}`, 1])) }
    }
  ],
  ['more answers than numbers', { ...ANSWER, answered: undefined }],
  ['statuses that are none', { ...ANSWER, answer: 'traffic', traffic: { ...TRAFFIC, statuses: { abc: 1 } } }],
  ['half a message', { ...ANSWER, answer: 'traffic', traffic: { ...TRAFFIC, sent: 0.5 } }],
  ['negative counts', { ...ANSWER, opened: { ...ANSWER.opened, connected: -1 } }],
  ['an unknown answer', { ...ANSWER, answer: 'owned' }]
])('rejects %s', (_, message) => {
  expect(() => decode(agentMessageSchema, Buffer.from(JSON.stringify(message)))).toThrow(MessageError)
})

test('checks the size first', () => {
  expect(() => decode(orderSchema, Buffer.alloc(MAX_MESSAGE + 1, 0x5b))).toThrow(/bytes are more than/)
  expect(() => encode({ ...CONNECT, filler: 'x'.repeat(MAX_MESSAGE) })).toThrow(/is larger than the maximum/)
})

test('rejects random bytes with a MessageError and nothing else', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.json().map((text) => Buffer.from(text)),
    // A valid message with one byte changed.
    fc.tuple(fc.nat(), fc.nat(255)).map(([at, to]) => {
      const message = Buffer.from(encode(CONNECT))
      message[at % message.length] = to
      return message
    })
  )
  fc.assert(
    fc.property(bytes, (message) => {
      for (const schema of SCHEMAS) {
        try {
          decode<unknown>(schema, message)
        } catch (error) {
          expect(error).toBeInstanceOf(MessageError)
        }
      }
    }),
    { numRuns: 2000 }
  )
})

test('validates offers', () => {
  const offer = { id: ID, protocol: '1', name: 'alpha' }
  expect(offerSchema.parse({ ...offer, more: 'x' })).toEqual({ id: ID, protocol: 1, name: 'alpha' })
  for (const wrong of [{ id: 'a.b' }, { protocol: 'one' }, { name: '' }, { name: 'a\nb' }, { name: undefined }]) {
    expect(offerSchema.safeParse({ ...offer, ...wrong }).success).toBe(false)
  }
})
