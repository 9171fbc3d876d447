/** `npm run bench:start`: {@link ABOUT}. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { count, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { spreadOf, spreadText } from '../harness/paired.mjs'
import { alignColumns } from '../harness/table.mjs'

const ABOUT = `Measures what a preload adds to the CPU time of a program that does nothing: one that ends at once, and one
  that runs for 1.2 s, by which time ebb/auto has loaded its governor. All threads count. Each round starts every side
  once, in turn, and a plain process; the figures are medians of the differences within a round, and their spread, where
  the median of many rounds lies: \`noise\` if that may be nothing. Takes two minutes.`

const { rounds } = readCommandLine({
  script: 'bench:start',
  about: ABOUT,
  options: { rounds: count('--rounds', '<n>', 'Start each side <n> times (default: 30).', 30) },
  exit: 'Exit codes: 0; 1 for wrong options.'
})

const PROGRAM = fileURLToPath(new URL('programs/short.mjs', import.meta.url))
/** Milliseconds that the longer program runs. */
const LONG = 1200

/** What each side preloads. `prom-client` is another library that watches a process. */
const SIDES = [
  { name: 'plain', preload: [] },
  { name: 'an empty module', preload: ['--import', 'data:text/javascript,'] },
  { name: 'prom-client', preload: ['--import', 'prom-client'] },
  { name: 'koffi', preload: ['--import', 'koffi'] },
  { name: 'ebb/auto', preload: ['--import', 'ebb/auto'] },
  { name: 'ebb/park', preload: ['--import', 'ebb/park'] }
]

/**
 * Returns the CPU time of a program that has this preload, ms.
 *
 * @param {readonly string[]} preload
 * @param {number} ms how long it runs
 */
function cpu(preload, ms) {
  const env = { ...process.env, EBB_LOG: '0', EBB_PARK_LOG: '0' }
  const { status, stdout, stderr } = spawnSync(process.execPath, [...preload, PROGRAM, String(ms)], {
    encoding: 'utf8',
    env
  })
  if (status !== 0) throw new Error(stderr)
  return Number(stdout)
}

/**
 * Measures all sides in turn and returns the additional CPU time of each round, by side.
 *
 * @param {number} ms how long the program runs
 */
function measure(ms) {
  /** @type {Map<string, number[]>} */
  const added = new Map(SIDES.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    const used = new Map(orderOfRound(SIDES, round).map(({ name, preload }) => [name, cpu(preload, ms)]))
    const plain = used.get('plain') ?? Number.NaN
    for (const [name, value] of used) added.get(name)?.push(name === 'plain' ? value : value - plain)
  }
  return added
}

const tenths = (/** @type {number} */ ms) => ms.toFixed(1)
const [ends, runs] = [measure(0), measure(LONG)]
const lines = [['CPU time over plain, ms', 'ends at once', 'spread', `runs for ${LONG / 1000} s`, 'spread']]
for (const { name } of SIDES) {
  const cells = [ends, runs].flatMap((added) => {
    const spread = spreadOf(added.get(name) ?? [])
    const range = spreadText(spread, tenths)
    const nothing = name !== 'plain' && !(spread.low > 0 || spread.high < 0)
    return [tenths(spread.median), nothing ? `${range}, noise` : range]
  })
  lines.push([name === 'plain' ? 'plain, in all' : name, ...cells])
}
console.log(`Node ${process.version.slice(1)}, ${rounds} rounds`)
for (const line of alignColumns(lines, new Set([0]))) console.log(line)
conclude(`the start of a program with a preload, ${rounds} rounds in turn.`, undefined)
