/**
 * What the clients of a chat and of a broker have in common: they connect, talk in rooms for a while, and leave.
 *
 * Each room has one message under way. When the member whose turn it is has received the message, it sends the next
 * one.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { answer } from '../../harness/answer.mjs'

/** @import { Done } from './start.mjs' */

/** Connects that are under way at once. */
const BURST = 100
const TEXT = 't'.repeat(200)

/**
 * @typedef {object} TalkLoad
 * @property {number} clients
 * @property {number} room members of each room
 * @property {number} seconds
 * @property {number} [every] milliseconds that a member waits before it sends; 0 if left out
 */

/**
 * @typedef {object} Member
 * @property {(text: string) => void} say
 * @property {() => Promise<unknown>} leave resolves when the connection is closed
 */

/**
 * @typedef {object} Room
 * @property {Member[]} members
 * @property {number} heard messages that any member has received
 */

/** @typedef {{ run(port: number, load: TalkLoad): Promise<Done> }} TalkOrders */

/**
 * Answers the parent's orders.
 *
 * @param {(port: number, room: string, onMessage: () => void) => Promise<Member>} join connects a member
 */
export function talk(join) {
  /** @type {TalkOrders} */
  const orders = {
    run: async (port, { clients, room: size, seconds, every }) => {
      let going = false
      let total = 0
      /** @type {Member[]} */
      const members = []
      /** @type {readonly Room[]} */
      const rooms = Array.from({ length: Math.ceil(clients / size) }, () => ({ members: [], heard: 0 }))
      const next = (/** @type {Room} */ room) => {
        if (going) room.members[room.heard % room.members.length]?.say(TEXT)
      }
      const onMessage = (/** @type {Room} */ room) => {
        total++
        if (++room.heard % room.members.length !== 0) return
        if (every === undefined) next(room)
        else setTimeout(next, every, room)
      }
      const add = async (/** @type {number} */ i) => {
        const index = i % rooms.length
        const room = /** @type {Room} */ (rooms[index])
        const member = await join(port, `/${index}`, () => onMessage(room))
        room.members.push(member)
        members.push(member)
      }
      for (let from = 0; from < clients; from += BURST) {
        await Promise.all(Array.from({ length: Math.min(BURST, clients - from) }, (_, i) => add(from + i)))
      }
      going = true
      const start = performance.now()
      for (const room of rooms) next(room)
      await wait(seconds * 1000)
      going = false
      const perSecond = (total * 1000) / (performance.now() - start)
      await Promise.all(members.map((member) => member.leave()))
      return { total, perSecond }
    }
  }
  answer(orders)
}
