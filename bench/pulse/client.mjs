/** The pulse client that is measured, in a process of its own. */
import { ownAnonymous } from 'ebb/memory'
import { pulse } from 'ebb-lab'
import { answer } from '../harness/answer.mjs'

/** Milliseconds between two samples of the client's memory. */
const SAMPLE_INTERVAL = 10

/** @typedef {typeof orders} ClientOrders */

const orders = {
  /**
   * Connects `connections` times in each of `iterations` pulses. Resolves with the time that each pulse took to
   * connect (ms), and with the most anonymous memory above rest (bytes).
   *
   * @param {number} port
   * @param {number} connections
   * @param {number} iterations
   */
  run: async (port, connections, iterations) => {
    const rest = ownAnonymous()
    let peak = 0
    /** @type {number[]} */
    const times = []
    const sampling = setInterval(() => {
      peak = Math.max(peak, ownAnonymous())
    }, SAMPLE_INTERVAL)
    await pulse(
      { host: '127.0.0.1', port },
      { big: connections, iterations, bigSeparation: 1000, linger: 1000, pulses: 0 },
      {
        onEvent: (event) => {
          if (event.event === 'connected') times.push(event.opened.ms)
        }
      }
    )
    clearInterval(sampling)
    return { times, aboveRest: peak - rest }
  }
}

answer(orders)
