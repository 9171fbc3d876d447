/** `npm run bench:allocator`: {@link ABOUT}. */
import { execFile, execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { count, fail, flag, readCommandLine, selection, text } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { firstLineOf } from '../harness/errors.mjs'
import { median, megabytes } from '../harness/figures.mjs'
import { pairedRatios, together } from '../harness/interleave.mjs'
import { figureTable } from '../harness/table.mjs'
import { PATTERNS } from './patterns.mjs'

/** @import { PatternName } from './patterns.mjs' */

const ABOUT = `Runs patterns of allocation with and without ebb/auto at the same time, and compares the memory that a
  process keeps after its spike. Memory grows in half a second, and then in five seconds. Measures glibc, and jemalloc
  and mimalloc if \`bench/install jemalloc mimalloc\` has installed them.

  A pattern takes 12 seconds, or 16 if memory grows slowly: all take a quarter of an hour for one Node.`

/** @typedef {'glibc' | 'jemalloc' | 'mimalloc'} Allocator */
/** @typedef {{ rest: number, peak: number, kept: number, cpu: number }} Figures bytes, and ms of CPU time */

/** @type {readonly Allocator[]} */
const ALLOCATORS = ['glibc', 'jemalloc', 'mimalloc']
/** @type {readonly PatternName[]} */
const NAMES = /** @type {PatternName[]} */ (Object.keys(PATTERNS))
const GROWTHS = { fast: 500, slow: 5000 }
/** With ebb/auto, a process may keep this many times what it keeps without, apart from the memory of ebb itself. */
const AIM = 1.05

const SIDES = /** @type {const} */ ([
  { name: 'with', governed: true },
  { name: 'without', governed: false }
])
const PROGRAM = fileURLToPath(new URL('program.mjs', import.meta.url))

const options = readCommandLine({
  script: 'bench:allocator',
  about: ABOUT,
  options: {
    quick: flag('Let memory grow fast only.'),
    only: selection('NAME,NAME', `Run some of the patterns: ${NAMES.join(', ')}.`, 'pattern', NAMES),
    allocator: selection('NAME,NAME', `Measure some of ${ALLOCATORS.join(', ')}.`, 'allocator', ALLOCATORS),
    rounds: count('--rounds', 'N', 'Rounds. Default: 1.', 1),
    node: text('PATH', 'Node that the programs run with. Default: this Node.', process.execPath)
  },
  exit: 'Exit codes: 0 if every pattern reaches its aim; 1 if one does not, and for wrong options.'
})
// The programs have another working directory, so a relative path must be resolved here.
const node = options.node.includes('/') ? resolve(options.node) : options.node
const version = versionOf(node)
const growths = options.quick ? /** @type {const} */ (['fast']) : /** @type {const} */ (['fast', 'slow'])

const rows = []
for (const allocator of options.allocator ?? ALLOCATORS) {
  const library = libraryOf(allocator)
  if (library === undefined) {
    console.error(`${allocator} is missing (run bench/install ${allocator})`)
    continue
  }
  for (const growth of growths) {
    for (const pattern of options.only ?? NAMES) {
      console.error(`${allocator}, ${growth}, ${pattern}`)
      /** @type {Record<'with' | 'without', Figures[]>} */
      const results = { with: [], without: [] }
      for (let round = 0; round < options.rounds; round++) {
        const figures = await together(SIDES, ({ governed }) => measure(pattern, growth, library, governed))
        for (const { name } of SIDES) results[name].push(figures[name])
      }
      // What ebb itself takes is there from the start, and is not what a spike has left.
      const itself = median(results.with.map(({ rest }) => rest)) - median(results.without.map(({ rest }) => rest))
      const apart = results.with.map((figures) => ({ ...figures, kept: figures.kept - itself }))
      const ratio = median(pairedRatios(apart, results.without, ({ kept }) => kept))
      rows.push({ allocator, growth, pattern, results, itself, ratio })
    }
  }
}
console.log(`Node ${version}`)
console.log(
  figureTable({
    headings: [
      'allocator',
      'growth',
      'pattern',
      'peak',
      'kept without',
      'with',
      'ebb itself',
      'ratio',
      'CPU without',
      'with'
    ],
    left: new Set(['allocator', 'growth', 'pattern']),
    rows: rows.map(({ allocator, growth, pattern, results, itself, ratio }) => {
      const of = (/** @type {'with' | 'without'} */ side, /** @type {keyof Figures} */ figure) =>
        median(results[side].map((figures) => figures[figure]))
      const ms = (/** @type {number} */ value) => `${value.toFixed(0)} ms`
      return {
        label: pattern,
        cells: [
          allocator,
          growth,
          pattern,
          megabytes(of('without', 'peak')),
          megabytes(of('without', 'kept')),
          megabytes(of('with', 'kept')),
          megabytes(itself),
          ratio.toFixed(2),
          ms(of('without', 'cpu')),
          ms(of('with', 'cpu'))
        ]
      }
    })
  })
)
const checked = rows.map(({ allocator, growth, pattern, ratio }) => ({
  figure: `${allocator}, ${growth}, ${pattern}`,
  kept: ratio <= AIM
}))
conclude(
  `patterns of allocation with and without ebb/auto on Node ${version}, each at most ${AIM} times as much memory, apart from ebb itself.`,
  checked
)
if (checked.some(({ kept }) => !kept)) process.exitCode = 1

/**
 * Runs a pattern once.
 *
 * @param {PatternName} pattern
 * @param {keyof typeof GROWTHS} growth
 * @param {string} library path of the allocator to preload; empty for the C library's own
 * @param {boolean} governed
 * @returns {Promise<Figures>}
 */
async function measure(pattern, growth, library, governed) {
  const flags = governed ? ['--import', 'ebb/auto'] : []
  const { stdout } = await promisify(execFile)(node, [...flags, PROGRAM, pattern, String(GROWTHS[growth])], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    env: { ...process.env, ...(library !== '' && { LD_PRELOAD: library }) }
  })
  return JSON.parse(stdout)
}

/**
 * Returns the path of an allocator, or undefined if it is not installed.
 *
 * @param {Allocator} allocator
 */
function libraryOf(allocator) {
  if (allocator === 'glibc') return ''
  for (const folder of ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib']) {
    try {
      const file = readdirSync(folder).find((name) => name.startsWith(`lib${allocator}.so`))
      if (file !== undefined) return join(folder, file)
    } catch {
      // Not every system has each of them.
    }
  }
  return undefined
}

/** @param {string} path */
function versionOf(path) {
  try {
    return execFileSync(path, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  } catch (error) {
    return fail(`bench:allocator: --node ${options.node} does not run (${firstLineOf(error)}); give the path of a Node`)
  }
}
