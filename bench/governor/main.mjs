/** `npm run bench:governor`: {@link ABOUT}. */
import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { count, fail, flag, readCommandLine, selection, text } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { firstLineOf } from '../harness/errors.mjs'
import { runParts } from '../harness/parts.mjs'
import { figureTable } from '../harness/table.mjs'
import { startHttpClient, startTalkClient } from './clients/start.mjs'
import { netExperiment } from './experiment.mjs'
import { leak } from './leak.mjs'
import { liveHeap } from './live-heap.mjs'
import { endPrograms } from './program.mjs'
import { pulsed } from './pulsed.mjs'
import { table } from './table.mjs'

/** @import { HttpLoad } from './clients/http.mjs' */
/** @import { TalkLoad } from './clients/talk.mjs' */
/** @import { Pulsed } from './pulsed.mjs' */
/** @import { Row } from './table.mjs' */

const ABOUT = `Runs programs with and without ebb/auto in turn: the memory that they keep after a spike, their
  speed in a spike, and how long their event loop is paused. Each program and each crowd of clients is a process
  of its own.

  Takes three quarters of an hour on two idle cores, and 10,000 descriptors per process. The programs inherit
  EBB_* variables; EBB_LOG=1 shows each release.`

/** @typedef {'net' | 'express' | 'ws' | 'aedes' | 'fastify' | 'live-heap' | 'leak'} Part */

/** @type {readonly Part[]} */
const NAMES = ['net', 'express', 'ws', 'aedes', 'fastify', 'live-heap', 'leak']

const options = readCommandLine({
  script: 'bench:governor',
  about: ABOUT,
  options: {
    quick: flag('Run one round with smaller sizes, with the same aims.'),
    only: selection('NAME,NAME', `Run some of the parts: ${NAMES.join(', ')}.`, 'part', NAMES),
    rounds: count('--rounds', 'N', 'Rounds. Default: 3; with --quick, 1.', undefined),
    node: text(
      'PATH',
      'Node that the programs run with. A name without a slash is looked up in PATH. Default: this Node.',
      process.execPath
    )
  },
  exit: 'Exit codes: 0, also if an aim is not reached or a part fails; 1 for wrong options.'
})
const { quick } = options
const rounds = options.rounds ?? (quick ? 1 : 3)
// The programs have another working directory, so a relative path must be resolved here.
const node = options.node.includes('/') ? resolve(options.node) : options.node
const version = versionOf(node)
const setting = { node, quick, rounds }
const spiky = { ...setting, spikes: quick ? 3 : 4, seconds: quick ? 4 : 8 }

/** @type {Pulsed<Omit<HttpLoad, 'seconds'>>} */
const EXPRESS = {
  name: 'express',
  startClient: startHttpClient,
  unit: 'requests',
  spike: { path: '/orders', request: 'order', connections: 500 },
  small: { path: '/orders', request: 'order', connections: 20, rate: 200 }
}

/** @type {Pulsed<Omit<TalkLoad, 'seconds'>>} */
const WS = {
  name: 'ws',
  startClient: () => startTalkClient('ws'),
  unit: 'messages',
  spike: { clients: 2000, room: 20 },
  small: { clients: 100, room: 20, every: 20 }
}

/** @type {Pulsed<Omit<TalkLoad, 'seconds'>>} */
const AEDES = {
  name: 'aedes',
  startClient: () => startTalkClient('mqtt'),
  unit: 'messages',
  spike: { clients: 1000, room: 20 },
  small: { clients: 50, room: 10, every: 20 }
}

/** @type {Pulsed<Omit<HttpLoad, 'seconds'>>} */
const FASTIFY = {
  name: 'fastify',
  startClient: startHttpClient,
  unit: 'requests',
  spike: { path: '/report', connections: 20 },
  small: { path: '/report', connections: 1, rate: 4 }
}

/** @type {Readonly<Record<Part, () => Promise<Row[]>>>} */
const PARTS = {
  net: () => netExperiment(setting),
  express: () => pulsed(EXPRESS, spiky),
  ws: () => pulsed(WS, spiky),
  aedes: () => pulsed(AEDES, spiky),
  fastify: () => pulsed(FASTIFY, spiky),
  'live-heap': () => liveHeap(setting),
  leak: () => leak(setting)
}

const names = options.only ?? NAMES
/** @type {Row[]} */
const rows = await runParts(
  names,
  PARTS,
  (program, note) => ({ program, figure: '-', aim: 'to be measured', reached: false, notes: [note] }),
  endPrograms
)
console.log(`Node ${version}`)
console.log(figureTable(table(rows)))
conclude(
  `programs with and without ebb/auto on Node ${version}, parts ${names.join(', ')}, ` +
    `${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}${quick ? ', smaller sizes' : ''}.`,
  rows.map(({ program, figure, reached }) => ({ figure: `${program}, ${figure}`, kept: reached }))
)

/** @param {string} path */
function versionOf(path) {
  try {
    return execFileSync(path, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  } catch (error) {
    return fail(`bench:governor: --node ${options.node} does not run (${firstLineOf(error)}); give the path of a Node`)
  }
}
