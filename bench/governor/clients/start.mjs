import { Child } from '../../harness/child.mjs'

/** @import { HttpOrders } from './http.mjs' */
/** @import { TalkOrders } from './talk.mjs' */

/**
 * What a client did.
 *
 * @typedef {object} Done
 * @property {number} total responses or messages
 * @property {number} perSecond
 */

/**
 * Starts a client of this folder that sends HTTP requests.
 *
 * @returns {Promise<Child<HttpOrders>>}
 */
export function startHttpClient() {
  return Child.start(new URL('http.mjs', import.meta.url))
}

/**
 * Starts a client of this folder that talks in rooms.
 *
 * @param {'ws' | 'mqtt'} protocol
 * @returns {Promise<Child<TalkOrders>>}
 */
export function startTalkClient(protocol) {
  return Child.start(new URL(`${protocol}.mjs`, import.meta.url))
}
