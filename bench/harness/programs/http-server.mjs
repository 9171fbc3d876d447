/** The HTTP server that is measured: the same code with and without `park()`. */
import { createServer } from 'node:http'
import { given } from '../answer.mjs'
import { serve } from '../serve.mjs'

/** @import { Parked } from 'ebb' */
/** @import { Mode, Options } from '../plain-sides.mjs' */

const [mode, options] = /** @type {[Mode, Options]} */ (given)
const server = createServer((_request, response) => response.end('ok\n'))
// The benchmark holds idle connections for longer than Node's default of 5 s.
server.keepAliveTimeout = 600_000
/** @type {Parked | undefined} */
let parked
if (mode === 'ebb') {
  // Plain Node does not load the library.
  const { park } = await import('ebb')
  parked = park(server, options)
}
await serve(server, { stats: () => parked?.stats() })
