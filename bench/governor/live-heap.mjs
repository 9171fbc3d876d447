/**
 * Measures a program with a large live heap. The governor must not pause it for longer than `maxPause`, however its
 * load falls.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { startHttpClient } from './clients/start.mjs'
import { governorOf, Program } from './program.mjs'
import { SIDES } from './sides.mjs'

/** @import { ProbeReport } from './probe.mjs' */
/** @import { Setting } from './sides.mjs' */
/** @import { Row } from './table.mjs' */

/** The default of `maxPause` in ms. */
const AIM = 50
const CROWD = 1000
const BIG = { path: '/', connections: CROWD, seconds: 3, rate: 2 * CROWD }
/** The load after a fall. It lasts long enough for a release. */
const SMALL = { path: '/', connections: 10, seconds: 8, rate: 50 }
/** How often the load falls. */
const FALLS = 3
/** Milliseconds that the program rests after its start. */
const REST = 3000
/** The heap is larger than Node's default limit allows on a small machine. */
const FLAGS = ['--max-old-space-size=4096']

/**
 * @param {Setting} setting
 * @returns {Promise<Row[]>}
 */
export async function liveHeap({ node, rounds, quick }) {
  const results = await interleave(SIDES, rounds, async ({ governed }) => {
    const program = await Program.start('live-heap', { node, governed, flags: FLAGS })
    const clients = await startHttpClient()
    try {
      await wait(REST)
      await program.ask('reset')
      for (let i = 0; i < (quick ? 1 : FALLS); i++) {
        await clients.ask('run', program.port, BIG)
        await clients.ask('run', program.port, SMALL)
      }
      return await program.ask('report')
    } finally {
      await program.end()
      await clients.end()
    }
  })
  const longest = Math.max(...results.with.map((report) => governorOf(report).longestPause))
  const max = (/** @type {readonly ProbeReport[]} */ reports) => median(reports.map(({ delay }) => delay.max))
  const longer = max(results.with) - max(results.without)
  const program = 'live heap of 1 GB'
  return [
    {
      program,
      figure: 'longest pause of a release',
      with: milliseconds(longest),
      aim: `at most ${AIM} ms`,
      reached: longest <= AIM,
      notes: results.with.slice(-1).map((report) => {
        const { releases, tooLong, expectedPause } = governorOf(report)
        return (
          `releases ${JSON.stringify(releases)}, ${tooLong} skipped because of their expected pause, ` +
          `which is ${milliseconds(expectedPause)} now`
        )
      })
    },
    {
      program,
      figure: 'loop delay maximum',
      with: milliseconds(max(results.with)),
      without: milliseconds(max(results.without)),
      aim: `at most ${AIM} ms more`,
      reached: longer <= AIM
    }
  ]
}
