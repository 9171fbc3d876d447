/** The HTTP server that is measured: the same code with and without `park`. */
import { createServer } from 'node:http'
import { given } from '../../harness/answer.mjs'
import { serve } from './serve.mjs'

const [mode, options] = given
const server = createServer((_request, response) => response.end('ok\n'))
// Nobody is to be closed for being idle.
server.keepAliveTimeout = 600_000
if (mode === 'ebb') {
  const { park } = await import('ebb')
  park(server, options)
}
await serve(server)
