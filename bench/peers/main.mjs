/** `npm run bench`: {@link ABOUT}. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BENCH_PLAN, QUICK_PLAN, report } from 'ebb-lab'
import { count, fail, flag, INTERRUPTED, readCommandLine, selection, text } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { firstLineOf, messageOf } from '../harness/errors.mjs'
import { median } from '../harness/figures.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { missing } from '../harness/servers.mjs'
import { markdownTable, rowOf, textTable } from './figures.mjs'
import { PEERS, UNAVAILABLE } from './list.mjs'
import { measure, measured } from './measure.mjs'
import { page, replaceTable } from './page.mjs'
import { measureSection, SECTIONS, withSections } from './sections.mjs'

/** @import { Server } from '../harness/servers.mjs' */
/** @import { Measured } from './measure.mjs' */

const ABOUT = `Measures ebb beside seventeen other servers, from C to HAProxy: each server goes through the same
  pulses, in three rounds. Prints a table of medians and draws a picture.

  Then runs bench:websocket and bench:handover. A server that is not installed is left out; \`bench/install\` installs
  what is available. Takes an hour and a half on two idle cores. Writes bench/RESULTS.md, bench/results.svg and the
  table in README.md. With --only, the other servers keep the figures that --out has of them, so a run can be done in
  pieces.`

/** Columns of the table when the output is no terminal. */
const WIDTH = 120
/** The servers of the README's table, in its order, and how many of the columns it has. */
const README_SERVERS = ['c', 'ebb', 'node-20', 'go', 'bun', 'tokio']
const README_COLUMNS = 9

/**
 * A server and what was measured of it.
 *
 * @typedef {object} Result
 * @property {Server} peer
 * @property {boolean} chosen whether this run measures it
 * @property {string | undefined} absent why it cannot run here
 * @property {Measured[]} rounds
 * @property {string[]} failures sentences
 */

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url))
/** The page of the project. */
const PAGE = here('../RESULTS.md')
const size = (/** @type {number} */ n) => n.toLocaleString('en-US')

const NAMES = [...PEERS, ...SECTIONS].map(({ id }) => id)

const options = readCommandLine({
  script: 'bench',
  about: ABOUT,
  options: {
    rounds: count('--rounds', 'N', 'Rounds. Default: 3.', 3),
    only: selection(
      'ID,ID',
      `Measure some of the servers and sections: ${NAMES.join(', ')}. The rest is as --out has it.`,
      'server',
      NAMES
    ),
    quick: flag('Use a fifth of the size and write to --out alone.'),
    out: text(
      'DIR',
      'Directory for the recordings and for all that is made of them. Default: results/bench.',
      'results/bench'
    ),
    resume: flag('Keep the rounds that DIR already has, for instance of a run that was interrupted.'),
    write: flag('Measure nothing, and write the same files from the recordings in DIR.')
  },
  exit: 'Exit codes: 0; 1 if a server failed or nothing was measured; 130 after Ctrl-C.'
})
const plan = options.quick ? QUICK_PLAN : BENCH_PLAN
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort())

/** @type {readonly Result[]} */
const results = PEERS.map((peer) => ({
  peer,
  chosen: options.only?.includes(peer.id) ?? true,
  absent: missing(peer),
  rounds: [],
  failures: []
}))
for (let round = 0; round < options.rounds && !interrupted.signal.aborted; round++) {
  for (const result of orderOfRound(results, round)) await runOnce(result, round + 1)
}
/** @type {string[]} */
const failedSections = []
const sections = options.write ? [] : SECTIONS.filter(({ id }) => options.only?.includes(id) ?? true)
for (const section of sections) {
  try {
    await measureSection(section, options.out, { ...options, signal: interrupted.signal })
  } catch (error) {
    if (!interrupted.signal.aborted) failedSections.push(messageOf(error))
  }
}
if (interrupted.signal.aborted) fail(`interrupted: --resume --out ${options.out} continues this run`, INTERRUPTED)

const there = results.filter(({ rounds }) => rounds.length > 0)
if (sections.length > 0 && !options.quick) {
  const present = readFileSync(PAGE, 'utf8')
  writeFileSync(PAGE, withSections(present, options.out, present))
}
if (there.length === 0) {
  if (failures().length > 0) fail(failures().join('\n'))
  if (sections.length === 0) fail('nothing was measured')
  process.exit(0)
}
const rows = await write()
console.log(textTable(rows, process.stdout.columns ?? WIDTH))
conclude(
  `${there.length} servers, ${plan.iterations} pulses of ${size(plan.big)} connections and ${plan.pulses} of ` +
    `${size(plan.small)}, ${roundsDone() === 1 ? 'one round' : `medians of ${roundsDone()} rounds`}; ` +
    `the files are in ${options.out}.`,
  undefined
)
if (failures().length > 0) fail(failures().join('\n'))

/**
 * Measures one server in one round. If the server fails, prints why and returns, so that the others are still measured.
 *
 * @param {Result} result
 * @param {number} round counted from 1
 */
async function runOnce({ peer, chosen, absent, rounds, failures }, round) {
  const { signal } = interrupted
  if (signal.aborted) return
  const folder = join(options.out, `round-${round}`, peer.id)
  const prefix = `round ${round} of ${options.rounds}  ${peer.name.padEnd(18)}`
  try {
    const keeps = options.resume || options.write || !chosen
    const earlier = keeps ? await measured(peer, folder, plan) : undefined
    if (earlier === undefined && (options.write || !chosen)) return
    if (earlier === undefined && absent !== undefined) {
      if (round === 1) console.error(`${prefix}  skipped: ${absent}`)
      return
    }
    const figures = earlier ?? (await measure(peer, folder, plan, signal))
    rounds.push(figures)
    if (!chosen) return
    const { kept, retention } = figures.verdict
    const keptText = kept === null ? '-' : `${(kept / 1e6).toFixed(1)} MB`
    console.error(`${prefix}  kept ${keptText}, retention ${retention?.toFixed(2) ?? '-'}`)
  } catch (error) {
    if (signal.aborted) return
    failures.push(`${peer.name} failed in round ${round}: ${firstLineOf(error)}`)
    console.error(`${prefix}  failed: ${messageOf(error)}`)
  }
}

/**
 * Writes the page and the picture to --out. Writes the project's pages too if all servers of the present page have been
 * measured at full size, in this run or in earlier ones.
 * Tables and picture have the figures of the same verdicts. Returns the rows of the table.
 */
async function write() {
  const { verdicts, files } = await report(
    there.flatMap(({ rounds }) => rounds.flatMap(({ recordings }) => recordings)),
    { out: options.out, sameNameIsRun: true }
  )
  const rows = there.map(({ peer, rounds }) => {
    const verdict = verdicts.find(({ name }) => name === peer.name)
    if (verdict === undefined) throw new Error(`the report has no verdict on ${peer.name}`)
    return rowOf(peer.name, { verdict, proportional: median(rounds.map(({ proportional }) => proportional)) })
  })
  const content = {
    servers: there.map(({ peer }) => peer),
    table: markdownTable(rows),
    plan,
    rounds: roundsDone(),
    notes: notes(),
    absent: absentServers()
  }
  mkdirSync(options.out, { recursive: true })
  writeFileSync(join(options.out, 'RESULTS.md'), withSections(page({ ...content, picture: 'memory.svg' }), options.out))
  if (options.quick) return rows
  const present = readFileSync(PAGE, 'utf8')
  const short = options.only === undefined ? [] : results.filter((result) => isShort(result, present))
  if (short.length > 0) {
    const names = short.map(({ peer }) => peer.id).join(', ')
    console.error(
      `the tables of servers stay as they are: ${options.out} does not have ${options.rounds} rounds of ${names}`
    )
    return rows
  }
  const picture = files.find((file) => file.endsWith('memory.svg'))
  if (picture !== undefined) copyFileSync(picture, here('../results.svg'))
  writeFileSync(PAGE, withSections(page({ ...content, picture: 'results.svg' }), options.out, present))
  const shown = README_SERVERS.flatMap((id) => rows.filter((_, index) => there[index]?.peer.id === id))
  replaceTable(here('../../README.md'), markdownTable(shown, README_COLUMNS))
  return rows
}

/**
 * Whether the table would lose a server of the present page, or would have fewer rounds of it than of others.
 *
 * @param {Result} result
 * @param {string} present text of the page
 */
function isShort({ peer, rounds }, present) {
  const shown = rounds.length > 0 || present.includes(`\n| ${peer.name} |`)
  return shown && rounds.length < options.rounds
}

function roundsDone() {
  return Math.max(...there.map(({ rounds }) => rounds.length))
}

function failures() {
  return [...results.flatMap((result) => result.failures), ...failedSections]
}

function notes() {
  return results.flatMap(({ peer, rounds, failures }) => {
    const sum = (/** @type {'failed' | 'lost'} */ key) => rounds.reduce((total, { verdict }) => total + verdict[key], 0)
    const sentences = [...failures]
    if (peer.most !== undefined && peer.most < plan.big && rounds.length > 0) {
      sentences.push(
        `${peer.name} held ${size(peer.most)} connections. Its descriptor limit allows no more, because it needs two for each connection.`
      )
    }
    if (sum('failed') > 0) sentences.push(`${peer.name}: ${size(sum('failed'))} connects failed.`)
    if (sum('lost') > 0)
      sentences.push(`${peer.name} closed ${size(sum('lost'))} connections that it should have held.`)
    return sentences
  })
}

function absentServers() {
  const skipped = results.filter(({ rounds, failures }) => rounds.length === 0 && failures.length === 0)
  return [...skipped.map(({ peer, absent }) => `${peer.name}: ${absent ?? 'not measured'}.`), ...UNAVAILABLE]
}
