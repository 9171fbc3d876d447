/**
 * `npm run bench:governor`: programs with and without `--import ebb/auto`, in turn, in one run: what they keep after a spike, how fast
 * they are in it, and for how long they are stopped.
 *
 * Each program and each crowd of clients is a process of its own: see `governor/`. Takes two cores that have nothing else to do, three
 * quarters of an hour, and 10,000 descriptors a process.
 */
import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { endChildren } from '../harness/child.mjs'
import { netExperiment } from './experiment.mjs'
import { leak } from './leak.mjs'
import { liveHeap } from './live-heap.mjs'
import { endPrograms } from './program.mjs'
import { pulsed } from './pulsed.mjs'
import { table } from './table.mjs'

const HELP = `Usage: npm run bench:governor -- [options]

Programs with and without ebb/auto, in turn: what they keep, how fast they are, how long they are stopped.

  --quick            one round, and smaller, with the aims of the whole
  --only NAME[,...]  some of the parts: net, express, ws, aedes, fastify, live-heap, leak
  --rounds N         default: 3
  --node PATH        the Node that the programs run with; a name without / is looked for in PATH

What is set of EBB_* comes to the programs: EBB_LOG=1 shows each give-back.`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    node: { type: 'string', default: process.execPath }
  }
})
if (values.help) {
  console.log(HELP)
  process.exit()
}
const { quick } = values
// The programs have a working directory of their own.
const node = values.node.includes('/') ? resolve(values.node) : values.node
const version = versionOf(node)
const rounds = Number(values.rounds ?? (quick ? 1 : 3))
const setting = { node, quick, rounds }
const spiky = { ...setting, spikes: quick ? 3 : 4, seconds: quick ? 4 : 8 }

/** Each resolves with its rows of the table. The aims are those of the issue. */
const PARTS = {
  net: () => netExperiment(setting),
  express: () =>
    pulsed(
      {
        name: 'express',
        client: 'http',
        unit: 'requests',
        spike: { path: '/orders', request: 'order', connections: 500 },
        small: { path: '/orders', request: 'order', connections: 20, rate: 200 }
      },
      spiky
    ),
  ws: () =>
    pulsed(
      {
        name: 'ws',
        client: 'ws',
        unit: 'messages',
        spike: { clients: 2000, room: 20 },
        small: { clients: 100, room: 20, every: 20 }
      },
      spiky
    ),
  aedes: () =>
    pulsed(
      {
        name: 'aedes',
        client: 'mqtt',
        unit: 'messages',
        spike: { clients: 1000, room: 20 },
        small: { clients: 50, room: 10, every: 20 }
      },
      spiky
    ),
  fastify: () =>
    pulsed(
      {
        name: 'fastify',
        client: 'http',
        unit: 'requests',
        spike: { path: '/report', connections: 20 },
        small: { path: '/report', connections: 1, rate: 4 }
      },
      spiky
    ),
  'live-heap': () => liveHeap(setting),
  leak: () => leak(setting)
}

const names = values.only?.split(',') ?? Object.keys(PARTS)
const unknown = names.filter((name) => !(name in PARTS))
if (unknown.length > 0 || !(rounds >= 1)) {
  const reason =
    unknown.length > 0
      ? `no such part: ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`
      : 'give --rounds from 1 on'
  console.error(reason)
  process.exit(1)
}

const rows = []
for (const name of names) {
  console.error(name)
  try {
    rows.push(...(await PARTS[name]()))
  } catch (error) {
    // The other figures are worth having all the same.
    console.error(error)
    rows.push({
      program: name,
      figure: '-',
      aim: 'to be measured',
      notes: [`failed: ${error.message.split('\n', 1)[0]}`]
    })
  } finally {
    await endPrograms()
    await endChildren()
  }
}
console.log(`Node ${version}`)
console.log(table(rows))

function versionOf(node) {
  try {
    return execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  } catch (error) {
    console.error(`--node ${values.node}: no Node that runs (${error.code ?? error.message}); give the path of one`)
    process.exit(1)
  }
}
