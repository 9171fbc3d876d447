/** `npm run matrix`: see {@link USAGE}. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CACHE = join(ROOT, 'node_modules/.cache/ebb')
const LINES = ['20', '22', '24', '26']
/** What the library is tested by. */
const TESTS = ['packages/ebb/', 'test/park/', 'test/governor', 'test/prom-client']
const USAGE = `usage: npm run matrix -- [options]

The library's tests and npm run bench:governor on each Node that is supported. Each is installed from npm
(node-linux-${process.arch}), the newest of its line, into node_modules/.cache/ebb.

  --only 20,26   some of them; there are ${LINES.join(', ')}
  --no-bench     the tests alone
  --quick        as for the benchmark
  --help

Ends with 1 when a test failed, or a Node could not be had.`

const values = options()
if (values.help) {
  console.log(USAGE)
  process.exit(0)
}
if (process.platform !== 'linux') fail(`Linux alone: this is ${process.platform}`)
const lines = values.only?.split(',').map((line) => line.trim()) ?? LINES
const unknown = lines.filter((line) => !LINES.includes(line))
if (unknown.length > 0) fail(`no such Node: ${unknown.join(', ')}; there are ${LINES.join(', ')}`)

// What it started ends with it.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))

const rows = []
for (const line of lines) {
  const node = install(line)
  const version = execFileSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).trim()
  console.error(`\nNode ${version}`)
  const tests = await run(node, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', ...TESTS])
  const bench = values.bench
    ? await run(process.execPath, [
        join(ROOT, 'bench/governor/main.mjs'),
        '--node',
        node,
        ...(values.quick ? ['--quick'] : [])
      ])
    : undefined
  rows.push({ version, tests, bench })
}

console.log(`\n${'Node'.padEnd(10)}  tests   bench:governor`)
for (const { version, tests, bench } of rows) {
  const missed = bench?.output.split('\n').filter((text) => / no$/.test(text)) ?? []
  const reached = bench?.output.split('\n').filter((text) => / yes$/.test(text)) ?? []
  const figures =
    bench === undefined
      ? '-'
      : bench.code !== 0
        ? 'failed'
        : `${reached.length} of ${reached.length + missed.length} aims`
  console.log(`${version.padEnd(10)}  ${(tests.code === 0 ? 'pass' : 'FAIL').padEnd(6)}  ${figures}`)
  for (const text of missed) console.log(`${''.padEnd(20)}${text.replace(/ {2,}/g, '  ')}`)
}
process.exit(rows.every(({ tests }) => tests.code === 0) ? 0 : 1)

/** The path of that Node, the newest of its line. */
function install(line) {
  const folder = join(CACHE, `node-${line}`)
  const name = `node-linux-${process.arch}`
  mkdirSync(folder, { recursive: true })
  // A package of its own: npm would look for one further up, and find the workspace.
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  try {
    execFileSync(
      'npm',
      ['install', '--no-package-lock', '--ignore-scripts', '--loglevel', 'error', `${name}@${line}`],
      {
        cwd: folder,
        stdio: ['ignore', 'ignore', 'inherit']
      }
    )
  } catch {
    fail(`Node ${line} could not be installed (${name}@${line}): see what npm said`)
  }
  return join(folder, 'node_modules', name, 'bin/node')
}

function options() {
  try {
    return parseArgs({
      allowNegative: true,
      options: {
        only: { type: 'string' },
        bench: { type: 'boolean', default: true },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false }
      }
    }).values
  } catch (error) {
    return fail(`${error.message.split('. ', 1)[0]}; see npm run matrix -- --help`)
  }
}

function fail(message) {
  console.error(`matrix: ${message}`)
  process.exit(1)
}

/** Runs a script, with that Node first in `PATH` for what it starts in turn; its output is shown, and kept. */
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
  const [code] = await once(child, 'close')
  process.off('exit', end)
  return { code, output }
}
