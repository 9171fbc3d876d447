/** Requests by autocannon, in a process of its own. */
import autocannon from 'autocannon'
import { answer } from '../../harness/answer.mjs'

const HOST = '127.0.0.1'

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
  order: { method: 'POST', body: ORDER, headers: { 'content-type': 'application/json' } }
}

answer({
  /**
   * `rate`: requests a second of all connections; as fast as the answers come when left out. Resolves with the answers, and
   * answers a second.
   */
  run: async (port, { path, request = 'get', connections, seconds, rate }) => {
    const { requests, duration, errors, non2xx } = await autocannon({
      url: `http://${HOST}:${port}${path}`,
      connections,
      duration: seconds,
      timeout: 60,
      ...(rate !== undefined && { overallRate: rate }),
      ...REQUESTS[request]
    })
    if (errors + non2xx > 0) throw new Error(`autocannon: ${errors} errors, ${non2xx} answers that are not 2xx`)
    return { total: requests.total, perSecond: requests.total / duration }
  }
})
