/**
 * A box with several copies of a server: what one of them adds to it.
 *
 * Copies of a program share the pages of its files, so that the second costs less than the first. Four are started, each holds its
 * connections, and after a moment the kernel is asked for the proportional memory (PSS) of each, in which a page counts by the
 * part that a process has of those that map it. The mean of the four.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { ProcessView } from 'ebb/memory'
import { pulse, start } from 'ebb-lab'

const COPIES = 4
/** For the servers to come to rest under their connections, ms. */
const SETTLE = 2000
/** Longer than anybody waits: the connections are closed when the figures are there, ms. */
const HELD = 600_000

/** Resolves with bytes. */
export async function box(command, connections, signal) {
  const copies = []
  const over = new AbortController()
  try {
    for (let i = 0; i < COPIES; i++) copies.push(await start(command, { signal }))
    const pulses = copies.map((copy) => hold(copy, connections, AbortSignal.any([signal, over.signal])))
    await Promise.all(pulses.map(({ connected }) => connected))
    await wait(SETTLE, undefined, { signal })
    const shares = copies.map(({ pid }) => proportionalOf(pid))
    over.abort()
    await Promise.all(pulses.map(({ ended }) => ended))
    return shares.reduce((sum, share) => sum + share, 0) / COPIES
  } finally {
    over.abort()
    await Promise.all(copies.map(({ launched }) => launched.stop()))
  }
}

/** `connected`: all of them are; it rejects when they are not. `ended`: none is left. */
function hold({ host, port }, connections, signal) {
  let ended
  const connected = new Promise((resolve, reject) => {
    ended = pulse(
      { host, port },
      { iterations: 0, small: connections, pulses: 1, linger: HELD },
      {
        signal,
        onEvent: ({ event, opened }) => {
          if (event !== 'connected') return
          if (opened.connected === connections) resolve()
          else reject(new Error(`only ${opened.connected} of ${connections} connections to one of four copies`))
        }
      }
    )
    ended.catch(reject)
  })
  return { connected, ended }
}

function proportionalOf(pid) {
  const view = new ProcessView(pid)
  try {
    return view.smaps().proportional
  } finally {
    view.close()
  }
}
