/** One side of a comparison: a server and a crowd of clients, each a process of its own. */
import { Child } from '../harness/child.mjs'

export const SIDES = ['ebb', 'plain']

/** `protocol`: http or tcp. `options`: for ebb; plain Node gets none that it does not know. */
export async function startSide(side, protocol, options) {
  const server = await Child.start(
    protocol === 'http'
      ? new URL('programs/http-server.mjs', import.meta.url).href
      : new URL('programs/net-server.mjs', import.meta.url).href,
    side,
    options
  )
  const crowd = await Child.start(new URL('programs/crowd.mjs', import.meta.url).href, protocol)
  return {
    side,
    server,
    crowd,
    connect: (n) => crowd.ask('connect', server.ready, n),
    /** Resolves when all `n` connections are idle: for ebb, parked. */
    idle: async (n) => {
      if (side === 'ebb') await server.until('stats', (stats) => stats.parked === n)
    },
    end: () => Promise.all([server.end(), crowd.end()])
  }
}

/** Both sides, for as long as `work` takes. */
export async function withSides(protocol, options, work) {
  const sides = []
  try {
    for (const side of SIDES) sides.push(await startSide(side, protocol, options))
    return await work(sides)
  } finally {
    for (const side of sides) await side.end()
  }
}

/** `work` for each side, `rounds` times, the first of a round being ebb and plain Node in turn. An array for each side. */
export async function interleave(sides, rounds, work) {
  const results = Object.fromEntries(sides.map(({ side }) => [side, []]))
  for (let round = 0; round < rounds; round++) {
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) results[side.side].push(await work(side))
  }
  return results
}
