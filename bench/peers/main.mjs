/**
 * `npm run bench`: every server of `list.mjs` through the experiment, in turn, three rounds; a table of medians and a picture.
 *
 * A server that is not installed is left out by name: `bench/install` brings what can be had. Takes two cores that have nothing
 * else to do, and an hour. A whole run writes RESULTS.md and results.svg in bench/, and the README's table.
 *
 *   --rounds N     3 by default
 *   --only ID,ID   some of the servers; what comes of it stays in --out
 *   --quick        at a fifth of the size; likewise
 *   --out DIR      for the recordings and all that is made of them; results/bench by default
 *   --resume       keeps what DIR has of a run that was cut off, or had fewer rounds
 *   --write        measures nothing: the same files, of what DIR has
 *
 * Ends with 1 when a server failed, and with 130 after Ctrl-C.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BENCH_PLAN, QUICK_PLAN, report } from 'ebb-lab'
import { markdownTable, middle, rowOf, textTable } from './figures.mjs'
import { missing, NOT_TO_BE_HAD, PEERS } from './list.mjs'
import { measure, measured } from './measure.mjs'
import { page, replaceTable } from './page.mjs'

/** Of a table that goes into a file or a pipe, columns. */
const WIDTH = 120

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const size = (n) => n.toLocaleString('en-US')

const options = read()
const plan = options.quick ? QUICK_PLAN : BENCH_PLAN
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => interrupted.abort())

const results = PEERS.filter(({ id }) => options.only?.includes(id) ?? true).map((peer) => ({
  peer,
  absent: missing(peer),
  rounds: [],
  failures: []
}))
for (let round = 1; round <= options.rounds && !interrupted.signal.aborted; round++) {
  // The other way round in every second one, so that nobody always follows the same.
  for (const result of round % 2 === 1 ? results : results.toReversed()) await once(result, round)
}
if (interrupted.signal.aborted) end(130, `interrupted: --resume --out ${options.out} goes on from here`)

const there = results.filter(({ rounds }) => rounds.length > 0)
if (there.length === 0) end(1, 'nothing was measured')
const rows = there.map(({ peer, rounds }) => rowOf(peer.name, rounds))
await write()
console.log(textTable(rows, process.stdout.columns ?? WIDTH))
const failures = results.flatMap(({ failures }) => failures)
if (failures.length > 0) end(1, failures.join('\n'))

function read() {
  try {
    const { values } = parseArgs({
      options: {
        rounds: { type: 'string', default: '3' },
        only: { type: 'string' },
        quick: { type: 'boolean', default: false },
        out: { type: 'string', default: 'results/bench' },
        resume: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false }
      }
    })
    const rounds = Number(values.rounds)
    if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds is a number from 1, not ${values.rounds}`)
    const only = values.only?.split(',')
    const ids = PEERS.map(({ id }) => id)
    const unknown = only?.filter((id) => !ids.includes(id)) ?? []
    if (unknown.length > 0) throw new Error(`no such server: ${unknown.join(', ')}; there are ${ids.join(', ')}`)
    return { ...values, rounds, only }
  } catch (error) {
    return end(1, error.message)
  }
}

/** One server in one round. What fails is told, and the others are measured all the same. */
async function once({ peer, absent, rounds, failures }, round) {
  const { signal } = interrupted
  if (signal.aborted) return
  const folder = join(options.out, `round-${round}`, peer.id)
  const who = `round ${round} of ${options.rounds}  ${peer.name.padEnd(18)}`
  try {
    const earlier = options.resume || options.write ? await measured(peer, folder, plan) : undefined
    if (earlier === undefined && options.write) return
    if (earlier === undefined && absent !== undefined) {
      if (round === 1) console.error(`${who}  skipped: ${absent}`)
      return
    }
    const figures = earlier ?? (await measure(peer, folder, plan, signal))
    rounds.push(figures)
    const { kept, retention } = figures.verdict
    console.error(`${who}  kept ${(kept / 1e6).toFixed(1)} MB, retention ${retention?.toFixed(2) ?? '-'}`)
  } catch (error) {
    if (signal.aborted) return
    failures.push(`${peer.name} failed in round ${round}: ${error.message.split('\n', 1)[0]}`)
    console.error(`${who}  failed: ${error.message}`)
  }
}

/** All that there is to read and to see into `out`; of a whole run, to where people look. */
async function write() {
  const drawn = await report(
    there.flatMap(({ rounds }) => middle(rounds).recordings),
    { out: options.out }
  )
  const picture = drawn.files.find((file) => file.endsWith('memory.svg'))
  const table = markdownTable(rows)
  const content = {
    results: there,
    table,
    plan,
    rounds: Math.max(...there.map(({ rounds }) => rounds.length)),
    notes: notes(),
    absent: absent()
  }
  mkdirSync(options.out, { recursive: true })
  writeFileSync(join(options.out, 'RESULTS.md'), page({ ...content, picture: 'memory.svg' }))
  if (options.quick || options.only !== undefined) return
  copyFileSync(picture, here('../results.svg'))
  writeFileSync(here('../RESULTS.md'), page({ ...content, picture: 'results.svg' }))
  replaceTable(here('../../README.md'), table)
}

function notes() {
  return results.flatMap(({ peer, rounds, failures }) => {
    const verdicts = rounds.map(({ verdict }) => verdict)
    const sum = (key) => verdicts.reduce((total, verdict) => total + verdict[key], 0)
    const said = [...failures]
    if (peer.most < plan.big && rounds.length > 0) {
      said.push(`${peer.name} held ${size(peer.most)} connections: two descriptors each is what its limit allows.`)
    }
    if (sum('failed') > 0) said.push(`${peer.name}: ${size(sum('failed'))} connects failed.`)
    if (sum('lost') > 0) said.push(`${peer.name} closed ${size(sum('lost'))} connections that should have been held.`)
    return said
  })
}

function absent() {
  const skipped = results.filter(({ rounds, failures }) => rounds.length === 0 && failures.length === 0)
  return [...skipped.map(({ peer, absent }) => `${peer.name}: ${absent ?? 'not measured'}.`), ...NOT_TO_BE_HAD]
}

function end(code, sentence) {
  console.error(sentence)
  process.exit(code)
}
