/** `npm run matrix`: {@link ABOUT}. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, flag, INTERRUPTED, readCommandLine, selection } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'

/** @import { Checked } from '../harness/conclude.mjs' */

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CACHE = join(ROOT, 'node_modules/.cache/ebb')
const LINES = ['20', '22', '24', '26']
/** The tests of the library. */
const TESTS = ['packages/ebb/', 'test/park/', 'test/governor', 'test/prom-client']

const ABOUT = `Runs the library's tests and npm run bench:governor on each supported Node. Installs the newest
  Node of each release line from npm (node-linux-${process.arch}) into node_modules/.cache/ebb.`

const options = readCommandLine({
  script: 'matrix',
  about: ABOUT,
  options: {
    only: selection('N,N', `Use some of the release lines: ${LINES.join(', ')}.`, 'Node', LINES),
    'no-bench': flag('Run the tests alone.'),
    quick: flag('Run bench:governor with --quick.')
  },
  exit: 'Exit codes: 0; 1 if a test failed or a Node could not be installed. The benchmark does not change them.'
})
if (process.platform !== 'linux') fail(`matrix: it runs on Linux only, and this is ${process.platform}`)

// Everything that this process started ends with it.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(INTERRUPTED))

/** @type {{ version: string, passed: boolean, aims: Aims }[]} */
const rows = []
for (const line of options.only ?? LINES) {
  const node = install(line)
  const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  console.error(`\nNode ${version}`)
  const code = await run(node, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', ...TESTS])
  rows.push({ version, passed: code === 0, aims: await aimsOf(node) })
}

console.log(`\n${'Node'.padEnd(10)}  tests   bench:governor`)
for (const { version, passed, aims } of rows) {
  console.log(`${version.padEnd(10)}  ${(passed ? 'pass' : 'FAIL').padEnd(6)}  ${aims.text}`)
  for (const figure of aims.missed) console.log(`${''.padEnd(20)}not reached: ${figure}`)
}
const versions = rows.map(({ version }) => version).join(', ')
conclude(
  `the library's tests${options['no-bench'] ? '' : ' and bench:governor'} on Node ${versions}.`,
  rows.map(({ version, passed }) => ({ figure: `tests on Node ${version}`, kept: passed }))
)
process.exit(rows.every(({ passed }) => passed) ? 0 : 1)

/**
 * The aims of bench:governor on a Node.
 *
 * @typedef {object} Aims
 * @property {string} text how many were reached, `failed`, or `-` without the benchmark
 * @property {readonly string[]} missed figures that did not reach their aim
 */

/**
 * Runs bench:governor on a Node and resolves with its aims, which the benchmark writes to a file.
 *
 * @param {string} node path of the Node to measure
 * @returns {Promise<Aims>}
 */
async function aimsOf(node) {
  if (options['no-bench']) return { text: '-', missed: [] }
  const file = join(CACHE, 'aims.json')
  const args = [join(ROOT, 'bench/governor/main.mjs'), '--node', node, ...(options.quick ? ['--quick'] : [])]
  const code = await run(process.execPath, args, { EBB_BENCH_LIMITS: file })
  if (code !== 0) return { text: 'failed', missed: [] }
  const aims = /** @type {Checked[]} */ (JSON.parse(readFileSync(file, 'utf8')))
  rmSync(file)
  const missed = aims.filter(({ kept }) => !kept).map(({ figure }) => figure)
  return { text: `${aims.length - missed.length} of ${aims.length} aims`, missed }
}

/**
 * Installs the newest Node of a release line and returns its path.
 *
 * @param {string} line
 */
function install(line) {
  const folder = join(CACHE, `node-${line}`)
  const name = `node-linux-${process.arch}`
  mkdirSync(folder, { recursive: true })
  // Without a package.json here, npm would find the one of the workspace further up.
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  const args = ['install', '--no-package-lock', '--ignore-scripts', '--loglevel', 'error', `${name}@${line}`]
  try {
    execFileSync('npm', args, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  } catch {
    fail(`matrix: Node ${line} could not be installed (${name}@${line}); npm says why above`)
  }
  return join(folder, 'node_modules', name, 'bin/node')
}

/**
 * Runs a script, shows its output and resolves with its exit code. The directory of `node` comes first in `PATH`, so
 * that the programs that the script starts use the same Node.
 *
 * @param {string} node
 * @param {readonly string[]} args
 * @param {Readonly<Record<string, string>>} [env] more environment variables
 */
async function run(node, args, env = {}) {
  const child = spawn(node, args, {
    cwd: ROOT,
    env: { ...process.env, ...env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` },
    stdio: ['ignore', 'inherit', 'inherit']
  })
  const end = () => child.kill()
  process.once('exit', end)
  await once(child, 'close')
  process.off('exit', end)
  return child.exitCode
}
