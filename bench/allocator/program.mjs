/**
 * Runs one pattern of allocation and prints what the process holds, in bytes, as JSON.
 *
 *     node [--import ebb/auto] program.mjs PATTERN MS
 *
 * `MS` is the time in which memory grows. The crowd that causes it has 200 descriptors.
 */
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { PATTERNS } from './patterns.mjs'

/** @import { PatternName } from './patterns.mjs' */

/** Milliseconds that the peak is held. */
const HOLD = 1500
/** Milliseconds after which a process has what it keeps. */
const SETTLE = 8000
const REST = 1000

const [name = '', growth = '0'] = process.argv.slice(2)
if (!(name in PATTERNS)) throw new Error(`no such pattern: ${name}`)
const pattern = PATTERNS[/** @type {PatternName} */ (name)]()

const anonymous = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024

await wait(REST)
const rest = anonymous()
const crowd = Array.from({ length: 200 }, () => openSync('/dev/null', 'r'))
const start = performance.now()
for (let i = 0; i < pattern.steps; i++) {
  await pattern.step(i)
  const ahead = ((i + 1) / pattern.steps) * Number(growth) - (performance.now() - start)
  if (ahead > 0) await wait(ahead)
}
const peak = anonymous()
await wait(HOLD)
await pattern.drop()
for (const descriptor of crowd) closeSync(descriptor)
await wait(SETTLE)
const { user, system } = process.cpuUsage()
console.log(JSON.stringify({ rest, peak, kept: anonymous(), cpu: (user + system) / 1000 }))
process.exit()
