/** Clients that send HTTP requests. */
import { createHash, randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import autocannon from 'autocannon'
import { HOST } from '../../harness/serve.mjs'
import { Tally } from './tally.mjs'

/** Clients of a kind, requests per second of autocannon, and ms between two requests of a client of another kind. */
const CLIENTS = 10
const RATE = 300
const PAUSE = 20
/** Bytes of a body, parts of a slow upload, and ms between two parts. */
const BODY = 10_000
const PARTS = 10
const PART_EVERY = 30
/** Milliseconds that the answer of `/slow` takes. */
const SLOW = 300

/**
 * @param {number} port
 * @returns {Tally}
 */
export function autocannonClients(port) {
  const tally = new Tally('autocannon')
  const instance = autocannon(
    { url: `http://${HOST}:${port}/`, connections: CLIENTS, overallRate: RATE, duration: 3600, expectBody: 'ok\n' },
    () => {}
  )
  instance.on('response', (_client, status, _bytes, ms) => {
    tally.add(ms, status === 200)
    if (tally.isOver) instance.stop()
  })
  instance.on('reqError', (error) => tally.fail(error))
  return tally
}

/** @param {number} port */
export function fetchClients(port) {
  const tally = new Tally('fetch (undici)')
  many(tally, PAUSE, async () => {
    const body = randomBytes(BODY / 2).toString('hex')
    const response = await fetch(`http://${HOST}:${port}/hash`, { method: 'POST', body })
    return (await response.text()) === hashOf(body)
  })
  return tally
}

/** @param {number} port */
export function slowUploads(port) {
  const tally = new Tally('slow uploads')
  const agent = new Agent({ keepAlive: true })
  const exchange = async () => {
    const body = randomBytes(BODY / 2).toString('hex')
    return (await ask({ port, agent, path: '/hash', method: 'POST' }, body)) === hashOf(body)
  }
  many(tally, PAUSE, exchange, PARTS * PART_EVERY)
  return tally
}

/** @param {number} port */
export function slowAnswers(port) {
  const tally = new Tally(`answers of ${SLOW} ms`)
  const agent = new Agent({ keepAlive: true })
  const exchange = async () => {
    const query = `?${randomBytes(8).toString('hex')}`
    return (await ask({ port, agent, path: `/slow${query}` })) === query
  }
  many(tally, PAUSE, exchange, SLOW)
  return tally
}

/** @param {number} port */
export function newConnections(port) {
  const tally = new Tally('new connections')
  many(tally, PAUSE, async () => (await ask({ port, agent: false, path: '/' })) === 'ok\n')
  return tally
}

/**
 * @param {Tally} tally
 * @param {number} pause
 * @param {() => Promise<boolean>} exchange
 * @param {number} [usual]
 */
function many(tally, pause, exchange, usual) {
  for (let client = 0; client < CLIENTS; client++) void tally.repeat(pause, exchange, usual)
}

/**
 * Sends a request, its body in parts, and resolves with the body of the response.
 *
 * @param {import('node:http').RequestOptions} options
 * @param {string} [body]
 * @returns {Promise<string>}
 */
function ask(options, body) {
  return new Promise((resolve, reject) => {
    const sent = request({ host: HOST, ...options }, (response) => void text(response).then(resolve, reject))
    sent.on('error', reject)
    if (body === undefined) sent.end()
    else void upload(sent, body)
  })
}

/**
 * @param {import('node:http').ClientRequest} sent
 * @param {string} body
 */
async function upload(sent, body) {
  const length = body.length / PARTS
  for (let part = 0; part < PARTS; part++) {
    sent.write(body.slice(part * length, (part + 1) * length))
    await wait(PART_EVERY)
  }
  sent.end()
}

/** @param {string} body */
const hashOf = (body) => createHash('sha1').update(body).digest('hex')
