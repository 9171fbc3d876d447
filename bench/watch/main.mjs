/** `npm run bench:watch`: {@link ABOUT}. */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { count, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { median, quantile } from '../harness/figures.mjs'
import { orderOfRound } from '../harness/interleave.mjs'
import { alignColumns } from '../harness/table.mjs'

const ABOUT = `Measures what a program loses while its files in /proc are read, which is how ebb watches a server. The
  program holds 200 MB and maps and unmaps memory all the time, so every lock that a read takes stops it. The files are
  read without a pause, hundreds of times as often as ebb does, because one read has no effect that can be measured.
  Needs gcc. Takes half a minute.`

const { rounds, held } = readCommandLine({
  script: 'bench:watch',
  about: ABOUT,
  options: {
    rounds: count('--rounds', '<n>', 'Read each file for 200 ms <n> times (default: 20).', 20),
    held: count('--held', '<mb>', 'The program holds this much memory, MB (default: 200).', 200)
  },
  exit: 'Exit codes: 0; 1 for wrong options.'
})

/** Milliseconds of one measurement. */
const LENGTH = 200
/** `status` and `stat` are read for each sample; `smaps_rollup` once in 1 s or 5 s. */
const FILES = ['status', 'stat', 'smaps_rollup']

const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-watch-'))
const source = fileURLToPath(new URL('programs/maps.c', import.meta.url))
execFileSync('gcc', ['-O2', '-Wall', '-o', join(folder, 'maps'), source])
const counter = join(folder, 'rounds')
const program = spawn(join(folder, 'maps'), [counter, String(held)], { stdio: 'inherit' })
const pid = /** @type {number} */ (program.pid)
process.on('exit', () => {
  program.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})
await wait(2000)
const counted = openSync(counter, 'r')
const buffer = Buffer.alloc(16_384)

/** Returns what the program has done: its rounds, its CPU time and the time that it waited for a CPU, ns. */
function state() {
  readSync(counted, buffer, 0, 8, 0)
  const [cpu = 0, delay = 0] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ').map(Number)
  return { rounds: Number(buffer.readBigUInt64LE(0)), cpu, delay, at: performance.now() * 1e6 }
}

/**
 * Measures the program for a while, in which `read` is called without a pause.
 *
 * @param {(() => void) | undefined} read
 */
async function measure(read) {
  const before = state()
  const end = performance.now() + LENGTH
  let reads = 0
  if (read === undefined) await wait(LENGTH)
  else for (; performance.now() < end; reads++) read()
  const after = state()
  const elapsed = after.at - before.at
  const cpu = after.cpu - before.cpu
  return {
    reads: (reads / elapsed) * 1e9,
    cpu: cpu / (after.rounds - before.rounds),
    // Neither running nor waiting for a CPU: it waits for a lock.
    stopped: Math.max(0, elapsed - cpu - (after.delay - before.delay)) / elapsed
  }
}

const lines = [
  ['read without a pause', 'reads/s', 'CPU per round, change in %', 'quartiles', 'stopped, % of time', 'without']
]
for (const name of FILES) {
  const file = openSync(`/proc/${pid}/${name}`, 'r')
  const read = () => void readSync(file, buffer, 0, buffer.length, 0)
  /** @type {Map<string, Awaited<ReturnType<typeof measure>>>[]} */
  const pairs = []
  for (let round = 0; round < rounds; round++) {
    const results = new Map()
    for (const side of orderOfRound(['without', 'with'], round)) {
      results.set(side, await measure(side === 'with' ? read : undefined))
    }
    pairs.push(results)
  }
  closeSync(file)
  /**
   * @param {'with' | 'without'} side
   * @param {'reads' | 'cpu' | 'stopped'} figure
   */
  const figures = (side, figure) => pairs.map((results) => results.get(side)?.[figure] ?? Number.NaN)
  const without = figures('without', 'cpu')
  const changes = figures('with', 'cpu').map((cpu, i) => (cpu / (without[i] ?? Number.NaN) - 1) * 100)
  lines.push([
    name,
    median(figures('with', 'reads')).toFixed(0),
    median(changes).toFixed(1),
    [0.25, 0.75].map((share) => quantile(changes, share).toFixed(1)).join(' to '),
    (median(figures('with', 'stopped')) * 100).toFixed(1),
    (median(figures('without', 'stopped')) * 100).toFixed(1)
  ])
}
closeSync(counted)
console.log(`Node ${process.version.slice(1)}, ${rounds} rounds, ${held} MB held`)
for (const line of alignColumns(lines, new Set([0]))) console.log(line)
conclude(`what reading /proc costs a program, ${rounds} rounds in turn.`, undefined)
process.exit()
