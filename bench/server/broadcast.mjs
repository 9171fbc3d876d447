/** One message to all who are idle: what the server uses for it, until the last has it. */
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave, withSides } from './sides.mjs'

const IDLE = 500
const TEXT = 'b'.repeat(100)

export async function broadcast(n, rounds) {
  const { ebb, plain } = await withSides('tcp', { idle: IDLE }, async (sides) => {
    for (const side of sides) {
      await side.connect(n)
      await side.idle(n)
    }
    const one = async ({ idle, server, crowd }) => {
      await idle(n)
      const before = await server.ask('cpu')
      const received = crowd.ask('expect', TEXT.length)
      const reached = await server.ask('broadcast', TEXT)
      await received
      if (reached !== n) throw new Error(`${reached} of ${n} connections were sent to`)
      return (await server.ask('cpu')) - before
    }
    // Not counted: what is compiled then is not compiled again.
    await interleave(sides, 1, one)
    return interleave(sides, rounds, one)
  })
  const ratio = median(ebb.map((ms, round) => ms / plain[round]))
  return [
    {
      figure: `broadcast to ${n}, CPU of the server`,
      ebb: milliseconds(median(ebb)),
      plain: milliseconds(median(plain)),
      ratio,
      aim: 'less than plain',
      reached: ratio < 1
    }
  ]
}
