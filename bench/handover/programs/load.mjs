/** Clients of every kind at once, which check each answer and note how long it took. */
import { setTimeout as wait } from 'node:timers/promises'
import { answer } from '../../harness/answer.mjs'
import { autocannonClients, fetchClients, newConnections, slowAnswers, slowUploads } from './http-clients.mjs'
import { echo, events, idleClients, messages } from './stream-clients.mjs'

/** @import { Result, Tally } from './tally.mjs' */

/** Milliseconds until the clients are connected and warm, and until the last answers have come. */
const WARM_UP = 1000
const LAST = 1000

/** @type {Tally[]} */
let tallies = []
/** @type {() => Promise<unknown>} */
let askIdle = async () => {}

/** @typedef {typeof orders} LoadOrders */

const orders = {
  /**
   * @param {number} web port of HTTP and WebSockets
   * @param {number} tcp port of the echo server
   * @param {number} idle connections that ask nothing until the end
   */
  start: async (web, tcp, idle) => {
    const { tally, askAll } = await idleClients(web, idle)
    askIdle = askAll
    tallies = [
      autocannonClients(web),
      fetchClients(web),
      slowUploads(web),
      slowAnswers(web),
      newConnections(web),
      events(web),
      messages(web),
      echo(tcp),
      tally
    ]
    await wait(WARM_UP)
    for (const { result } of tallies) result.longest = 0
  },
  beginRestarts: () => {
    for (const tally of tallies) tally.beginRestarts()
  },
  /** Ends the load. @returns {Promise<Result[]>} */
  stop: async () => {
    await askIdle()
    for (const tally of tallies) tally.isOver = true
    await wait(LAST)
    return tallies.map(({ result }) => result)
  }
}
answer(orders)
