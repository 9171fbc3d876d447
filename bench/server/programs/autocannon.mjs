/** The client of the busy HTTP server: autocannon, in a process of its own. */
import autocannon from 'autocannon'
import { answer } from '../../harness/answer.mjs'
import { HOST } from '../../harness/serve.mjs'

/** @typedef {typeof orders} AutocannonOrders */

const orders = {
  /**
   * Sends requests for some seconds. Resolves with the number of responses, and responses per second.
   *
   * @param {number} port
   * @param {number} connections
   * @param {number} seconds
   */
  run: async (port, connections, seconds) => {
    const { requests, duration, errors, non2xx } = await autocannon({
      url: `http://${HOST}:${port}`,
      connections,
      duration: seconds
    })
    if (errors + non2xx > 0) throw new Error(`autocannon: ${errors} errors, ${non2xx} responses that are not 2xx`)
    return { total: requests.total, perSecond: requests.total / duration }
  }
}

answer(orders)
