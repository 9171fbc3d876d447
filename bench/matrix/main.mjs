/** `npm run matrix`: {@link ABOUT}. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, flag, INTERRUPTED, readCommandLine, selection } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'

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

/**
 * @typedef {object} Ran
 * @property {number | null} code exit code
 * @property {string} output
 */

/** @type {{ version: string, tests: Ran, bench: Ran | undefined }[]} */
const rows = []
for (const line of options.only ?? LINES) {
  const node = install(line)
  const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  console.error(`\nNode ${version}`)
  const tests = await run(node, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', ...TESTS])
  const bench = options['no-bench'] ? undefined : await run(process.execPath, benchCommand(node))
  rows.push({ version, tests, bench })
}

console.log(`\n${'Node'.padEnd(10)}  tests   bench:governor`)
for (const { version, tests, bench } of rows) {
  const { text, missed } = aimsOf(bench)
  console.log(`${version.padEnd(10)}  ${(tests.code === 0 ? 'pass' : 'FAIL').padEnd(6)}  ${text}`)
  for (const line of missed) console.log(`${''.padEnd(20)}${line.replace(/ {2,}/g, '  ')}`)
}
conclude(
  `the library's tests${options['no-bench'] ? '' : ' and bench:governor'} on Node ${rows.map(({ version }) => version).join(', ')}.`,
  rows.map(({ version, tests }) => ({ figure: `tests on Node ${version}`, kept: tests.code === 0 }))
)
process.exit(rows.every(({ tests }) => tests.code === 0) ? 0 : 1)

/**
 * Returns the command line of bench:governor, without the Node that runs the benchmark itself.
 *
 * @param {string} node path of the Node to measure
 */
function benchCommand(node) {
  return [join(ROOT, 'bench/governor/main.mjs'), '--node', node, ...(options.quick ? ['--quick'] : [])]
}

/**
 * Counts the aims in the table of bench:governor, whose lines end with "yes" or "no".
 *
 * @param {Ran | undefined} bench
 */
function aimsOf(bench) {
  if (bench === undefined) return { text: '-', missed: [] }
  const lines = bench.output.split('\n')
  const missed = lines.filter((line) => / no$/.test(line))
  const reached = lines.filter((line) => / yes$/.test(line))
  return {
    text: bench.code === 0 ? `${reached.length} of ${reached.length + missed.length} aims` : 'failed',
    missed
  }
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
 * Runs a script, shows its output and resolves with it. The directory of `node` comes first in `PATH`, so that the
 * programs that the script starts use the same Node.
 *
 * @param {string} node
 * @param {readonly string[]} args
 * @returns {Promise<Ran>}
 */
async function run(node, args) {
  const child = spawn(node, args, {
    cwd: ROOT,
    env: { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const end = () => child.kill()
  process.once('exit', end)
  let output = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text) => {
    output += text
    process.stdout.write(text)
  })
  await once(child, 'close')
  process.off('exit', end)
  return { code: child.exitCode, output }
}
