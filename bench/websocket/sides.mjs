/** The sides of the comparison: each is a server and a crowd of clients in processes of their own. */
import { Child } from '../harness/child.mjs'
import { interleave } from '../harness/interleave.mjs'

/** @import { Server, ServerOrders } from './list.mjs' */
/** @import { CrowdOrders } from './programs/crowd.mjs' */

/** Bytes of the header of a server's frame with up to 125 bytes. */
const HEADER = 2
/** What socket.io adds to a message: its packet types, the event's name, brackets and quotes. */
const PACKET = '42["m",""]'

/**
 * @typedef {object} Side
 * @property {string} name id of the server
 * @property {Child<ServerOrders>} server
 * @property {Child<CrowdOrders>} crowd
 * @property {(n: number) => Promise<void>} connect opens `n` connections, each of which exchanges one message
 * @property {(n: number) => Promise<void>} idle resolves when all `n` connections are idle; ebb has parked them then
 * @property {(text: string) => number} bytesOf length of the frame that brings a short text to a client
 * @property {() => Promise<unknown>} end ends both processes
 */

/**
 * Starts one side.
 *
 * @param {Server} server
 * @param {boolean} [deflate] whether messages are compressed
 * @returns {Promise<Side>}
 */
export async function startSide({ id, protocol, parks, start }, deflate = false) {
  const server = await start(deflate)
  /** @type {Child<CrowdOrders>} */
  const crowd = await Child.start(new URL('programs/crowd.mjs', import.meta.url), { args: [protocol, deflate] })
  return {
    name: id,
    server,
    crowd,
    connect: async (n) => void (await crowd.ask('connect', server.port, n)),
    idle: (n) => server.until('open', ({ open, parked }) => (parks ? parked : open) === n),
    bytesOf: (text) => HEADER + text.length + (protocol === 'socket.io' ? PACKET.length : 0),
    end: () => Promise.all([server.end(), crowd.end()])
  }
}

/**
 * Starts a side for each server, has each of them open `n` connections, and measures the sides in turn. The first
 * rounds compile the code and are not counted. Resolves with the results of each server, by its id.
 *
 * @template R
 * @param {readonly Server[]} servers
 * @param {number} n connections
 * @param {number} rounds
 * @param {(side: Side, round: number) => Promise<R>} measure
 * @param {number} [warmUp] rounds that are not counted
 * @returns {Promise<Record<string, R[]>>}
 */
export async function measureSides(servers, n, rounds, measure, warmUp = 1) {
  /** @type {Side[]} */
  const sides = []
  try {
    for (const server of servers) {
      const side = await startSide(server)
      sides.push(side)
      await side.connect(n)
    }
    await interleave(sides, warmUp, measure)
    return await interleave(sides, rounds, measure)
  } finally {
    for (const side of sides) await side.end()
  }
}
