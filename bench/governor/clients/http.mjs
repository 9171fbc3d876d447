/** Sends HTTP requests with autocannon, in a process of its own. */
import autocannon from 'autocannon'
import { answer } from '../../harness/answer.mjs'

/** @import { Done } from './start.mjs' */

const HOST = '127.0.0.1'
/** Seconds after which autocannon gives up a request. */
const TIMEOUT = 60

/** An order of about 10 KB. */
const ORDER = JSON.stringify({
  id: 4711,
  lines: Array.from({ length: 100 }, (_, i) => ({
    id: i,
    name: `something with a long name ${i}`,
    price: 9.5,
    count: 3
  }))
})

const REQUESTS = {
  get: {},
  order: /** @type {const} */ ({ method: 'POST', body: ORDER, headers: { 'content-type': 'application/json' } })
}

/**
 * @typedef {object} HttpLoad
 * @property {string} path
 * @property {keyof typeof REQUESTS} [request] default: get
 * @property {number} connections
 * @property {number} seconds
 * @property {number} [rate] requests per second of all connections together; as fast as responses come if left out
 */

/** @typedef {typeof orders} HttpOrders */

const orders = {
  /**
   * @param {number} port
   * @param {HttpLoad} load
   * @returns {Promise<Done>}
   */
  run: async (port, { path, request = 'get', connections, seconds, rate }) => {
    const { requests, duration, errors, non2xx } = await autocannon({
      url: `http://${HOST}:${port}${path}`,
      connections,
      duration: seconds,
      timeout: TIMEOUT,
      ...(rate !== undefined && { overallRate: rate }),
      ...REQUESTS[request]
    })
    if (errors + non2xx > 0) throw new Error(`autocannon: ${errors} errors, ${non2xx} responses that are not 2xx`)
    return { total: requests.total, perSecond: requests.total / duration }
  }
}

answer(orders)
