/** The figures of `npm run bench:scale`: as a table for a terminal, and as bench/SCALE.md. */
import { whole } from '../harness/figures.mjs'
import { machine } from '../harness/machine.mjs'
import { alignColumns, markdownTable } from '../harness/table.mjs'

/** @import { Row } from './measure.mjs' */

const mb = (/** @type {number | null} */ bytes) => (bytes === null ? '-' : (bytes / 1e6).toFixed(1))
const seconds = (/** @type {number | null} */ ms) => (ms === null ? 'never' : (ms / 1000).toFixed(2))

/** @type {readonly [name: string, cell: (row: Row) => string][]} */
const LINES = [
  ['connections', ({ connections }) => whole(connections)],
  ['servers', ({ servers }) => whole(servers)],
  ['connect all, s', ({ connectMs }) => seconds(connectMs)],
  ['accept all, s', ({ acceptMs }) => seconds(acceptMs)],
  ['connects, 1/s', ({ connectsPerSecond }) => whole(connectsPerSecond)],
  ['close all, s', ({ closeMs }) => seconds(closeMs)],
  ['released after, s', ({ backMs }) => seconds(backMs)],
  ['anonymous at rest, MB', ({ restAnonymous }) => mb(restAnonymous)],
  ['anonymous at hold, MB', ({ holdAnonymous }) => mb(holdAnonymous)],
  ['anonymous after, MB', ({ endAnonymous }) => mb(endAnonymous)],
  ['proportional at hold, MB', ({ holdProportional }) => mb(holdProportional)],
  ['footprint, bytes', ({ bytesEach }) => whole(bytesEach)],
  ['kernel, both ends, MB', ({ kernel }) => mb(kernel)],
  ['kernel per connection, bytes', ({ kernelEach }) => whole(kernelEach)],
  ['clients, anonymous, MB', ({ clientsAnonymous }) => mb(clientsAnonymous)],
  ['CPU of servers, us each', ({ serverCpuEach }) => whole(serverCpuEach)],
  ['CPU of clients, us each', ({ clientCpuEach }) => whole(clientCpuEach)]
]

/**
 * Returns a table with a column for each size.
 *
 * @param {readonly Row[]} results
 */
export function textTable(results) {
  return alignColumns(
    LINES.map(([name, cell]) => [name, ...results.map(cell)]),
    new Set([0])
  ).join('\n')
}

/**
 * Returns bench/SCALE.md.
 *
 * @param {readonly Row[]} results
 * @param {readonly string[]} stops sentences about what ended the run
 */
export function page(results, stops) {
  const [headings = [], ...rows] = LINES.map(([name, cell]) => [name, ...results.map(cell)])
  return `# From a thousand to a million connections

\`npm run bench:scale -- --write\` wrote this page on ${new Date().toISOString().slice(0, 10)}. Do not edit it by hand.

Machine: ${machine()}; Node ${process.version.slice(1)}.

For each number of connections, \`ebb serve --procs\` starts as many server processes as the descriptor limit requires.
The same number of client processes connects to them on the same machine.

${markdownTable(headings, rows)}

| row | meaning |
| --- | --- |
| anonymous, proportional | memory of all servers and their supervisor together |
| footprint | (memory of the servers at hold − at rest) / connections |
| connect all | time from the first connect until every client is connected |
| accept all | time from the first connect until the servers have reported every client; they report 20 times a second |
| close all | time from the first close until the servers have reported that no client is left |
| released after | time from the end of *close all* until anonymous memory is within 5 % of rest and stays there |
| kernel | memory of both ends of each connection in the kernel: slab and socket buffers |
| CPU, us each | CPU time of the processes while the crowd connects, in microseconds per connection; the kernel charges its own work to the running process |
${stops.length === 0 ? '' : `\n## What ended the run\n\n${stops.map((stop) => `- ${stop}`).join('\n')}\n`}`
}
