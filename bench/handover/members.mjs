/** The processes of a handover: servers that follow each other, and the clients of all of them. */
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Child } from '../harness/child.mjs'
import { execArgv } from '../harness/sides.mjs'

/** @import { CrowdOrders } from './programs/crowd.mjs' */
/** @import { ServerOrders } from './programs/server.mjs' */

/**
 * What a server is started with.
 *
 * @typedef {object} ServerOptions
 * @property {'ebb' | 'plain'} mode
 * @property {string} [path] of the handover socket; left out under `ebb run`
 * @property {number} [port] of HTTP; 0 or left out: a free one
 * @property {number} [echoPort] of the echo server
 * @property {number} idle milliseconds until an idle connection is parked
 * @property {number} grace milliseconds that connections get after a handover
 * @property {boolean} [webSockets] whether the HTTP server also speaks WebSocket
 */

/** @typedef {Child<ServerOrders>} Member */

const SERVER = new URL('programs/server.mjs', import.meta.url)
const CROWD = new URL('programs/crowd.mjs', import.meta.url)

/** Returns the path of a new handover socket. */
export const handoverPath = () => join(tmpdir(), `ebb-bench-${randomBytes(4).toString('hex')}.sock`)

/**
 * @param {ServerOptions} options
 * @returns {Promise<Member>}
 */
export function startMember(options) {
  return Child.start(SERVER, { args: [options], execArgv })
}

/**
 * Starts clients.
 *
 * @returns {Promise<Child<CrowdOrders>>}
 */
export function startCrowd() {
  return Child.start(CROWD)
}
