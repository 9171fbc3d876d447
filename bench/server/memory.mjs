/** What idle connections hold: anonymous memory over rest, once they have done one exchange and are parked. */
import { setTimeout as wait } from 'node:timers/promises'
import { megabytes } from '../harness/figures.mjs'
import { SIDES, startSide } from './sides.mjs'

/** Until a server that was busy is quiet, ms. */
const QUIET = 1000

export async function memory(protocol, n, aim) {
  const over = {}
  for (const side of SIDES) over[side] = await measure(side, protocol, n)
  const what = protocol === 'http' ? 'HTTP keep-alive' : 'TCP'
  return [
    {
      figure: `${n} idle ${what} connections, memory over rest`,
      ebb: megabytes(over.ebb.released),
      plain: megabytes(over.plain.released),
      ratio: over.ebb.released / over.plain.released,
      aim: `at most ${megabytes(aim)}`,
      reached: over.ebb.released <= aim,
      notes: [
        `without a give-back: ebb ${megabytes(over.ebb.left)}, plain Node ${megabytes(over.plain.left)}`,
        `a connection: ebb ${Math.round(over.ebb.released / n)} B, plain Node ${Math.round(over.plain.released / n)} B`
      ]
    }
  ]
}

/** Bytes over rest: left alone, and after a give-back. */
async function measure(side, protocol, n) {
  const one = await startSide(side, protocol, { idle: 500 })
  try {
    await one.server.ask('release')
    const rest = await one.server.ask('anonymous')
    await one.connect(n)
    await one.idle(n)
    await wait(QUIET)
    const left = await one.server.ask('anonymous')
    await one.server.ask('release')
    const released = await one.server.ask('anonymous')
    return { left: left - rest, released: released - rest }
  } finally {
    await one.end()
  }
}
