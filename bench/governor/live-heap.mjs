/** A program with a large heap that lives: the governor must not stop it for longer than `maxPause`, however its load falls. */
import { setTimeout as wait } from 'node:timers/promises'
import { Child } from '../harness/child.mjs'
import { median, milliseconds } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { Program } from './program.mjs'

/** The default of `maxPause`, ms. */
const AIM = 50
const CROWD = 1000
const SMALL = { path: '/', connections: 10, rate: 50 }
/** Falls, and how long the small load goes on after each, s. */
const FALLS = 3
const AFTER = 8

export async function liveHeap({ node, rounds, quick }) {
  const results = await interleave(rounds, async ({ governed }) => {
    const program = await Program.start('live-heap', { node, governed, flags: ['--max-old-space-size=4096'] })
    const clients = await Child.start(new URL('clients/http.mjs', import.meta.url).href)
    try {
      await wait(3000)
      await program.ask('reset')
      for (let i = 0; i < (quick ? 1 : FALLS); i++) {
        await clients.ask('run', program.port, { path: '/', connections: CROWD, seconds: 3, rate: 2 * CROWD })
        await clients.ask('run', program.port, { ...SMALL, seconds: AFTER })
      }
      return await program.ask('report')
    } finally {
      await program.end()
      await clients.end()
    }
  })
  const longest = Math.max(...results.with.map(({ governor }) => governor.longestPause))
  const max = (side) => median(results[side].map(({ delay }) => delay.max))
  const longer = max('with') - max('without')
  const { governor } = results.with.at(-1)
  const program = 'live heap of 1 GB'
  return [
    {
      program,
      figure: 'longest pause of an act',
      with: milliseconds(longest),
      aim: `at most ${AIM} ms`,
      reached: longest <= AIM,
      notes: [
        `acts ${JSON.stringify(governor.acts)}, left undone for their length ${governor.tooLong}, ` +
          `the next one's pause ${milliseconds(governor.expectedPause)}`
      ]
    },
    {
      program,
      figure: 'loop delay maximum',
      with: milliseconds(max('with')),
      without: milliseconds(max('without')),
      aim: `at most ${AIM} ms more`,
      reached: longer <= AIM
    }
  ]
}
