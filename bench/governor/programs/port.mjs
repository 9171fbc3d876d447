/** How every measured program is told where to listen, and how it reports that it does. */

/** @import { Server } from 'node:net' */

export const HOST = '127.0.0.1'

/** The port to listen on. */
export const port = Number(process.env.PORT)

/**
 * Prints the port of a server that listens.
 *
 * @param {Pick<Server, 'address'>} server
 */
export function reportPort(server) {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  console.log(`Listening on ${address.port}`)
}
