/**
 * What the clients of a chat and of a broker have in common: `clients` connect, talk for a while in rooms of `room`, and go.
 *
 * Each room has one message under way: the member whose turn it is says the next one when it has heard the last. With `every` (ms) it
 * waits that long before. Resolves with the messages that were heard, and messages a second of the talk.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { answer } from '../../harness/answer.mjs'

/** Connects under way at once. */
const BURST = 100
const TEXT = 't'.repeat(200)

/** `join(port, room, heard)` resolves with `{ say(text), leave() }`, `leave()` when the connection is closed. */
export function talk(join) {
  answer({
    run: async (port, { clients, room, seconds, every }) => {
      let going = false
      let total = 0
      const members = []
      const rooms = Array.from({ length: Math.ceil(clients / room) }, () => ({ members: [], heard: 0 }))
      const next = (which) => {
        if (going) which.members[which.heard % which.members.length].say(TEXT)
      }
      const heard = (which) => {
        total++
        if (++which.heard % which.members.length !== 0) return
        if (every === undefined) next(which)
        else setTimeout(next, every, which)
      }
      for (let from = 0; from < clients; from += BURST) {
        const burst = Array.from({ length: Math.min(BURST, clients - from) }, async (_, i) => {
          const which = rooms[(from + i) % rooms.length]
          const member = await join(port, `/${(from + i) % rooms.length}`, () => heard(which))
          which.members.push(member)
          members.push(member)
        })
        await Promise.all(burst)
      }
      going = true
      const start = performance.now()
      for (const which of rooms) next(which)
      await wait(seconds * 1000)
      going = false
      const perSecond = (total * 1000) / (performance.now() - start)
      await Promise.all(members.map((member) => member.leave()))
      return { total, perSecond }
    }
  })
}
