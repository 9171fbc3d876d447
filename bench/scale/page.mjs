/** The figures of `npm run bench:scale`: as a table for a terminal, and as `SCALE.md`, which is written by the program alone. */
import { machine } from '../peers/page.mjs'

const mb = (bytes) => (bytes === null ? '-' : (bytes / 1e6).toFixed(1))
const seconds = (ms) => (ms === null ? 'never' : (ms / 1000).toFixed(2))
const number = (n) => Math.round(n).toLocaleString('en-US')

const ROWS = [
  ['connections', ({ connections }) => number(connections)],
  ['servers', ({ servers }) => number(servers)],
  ['connect all, s', ({ connectMs }) => seconds(connectMs)],
  ['accept all, s', ({ acceptMs }) => seconds(acceptMs)],
  ['connects, 1/s', ({ connectsPerSecond }) => number(connectsPerSecond)],
  ['close all, s', ({ closeMs }) => seconds(closeMs)],
  ['given back after, s', ({ backMs }) => seconds(backMs)],
  ['anonymous at rest, MB', ({ restAnonymous }) => mb(restAnonymous)],
  ['anonymous at hold, MB', ({ holdAnonymous }) => mb(holdAnonymous)],
  ['anonymous after, MB', ({ endAnonymous }) => mb(endAnonymous)],
  ['proportional at hold, MB', ({ holdProportional }) => mb(holdProportional)],
  ['a connection, bytes', ({ bytesEach }) => number(bytesEach)],
  ['kernel, both ends, MB', ({ kernel }) => mb(kernel)],
  ['a connection there, bytes', ({ kernelEach }) => number(kernelEach)],
  ['clients, anonymous, MB', ({ clientsAnonymous }) => mb(clientsAnonymous)],
  ['CPU of servers, us each', ({ serverCpuEach }) => number(serverCpuEach)],
  ['CPU of clients, us each', ({ clientCpuEach }) => number(clientCpuEach)]
]

export function textTable(results) {
  const lines = ROWS.map(([name, cell]) => [name, ...results.map(cell)])
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const pad = (cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))
  return lines.map((line) => line.map(pad).join('  ')).join('\n')
}

export function page(results, stops) {
  const [head, ...rest] = ROWS.map(([name, cell]) => `| ${[name, ...results.map(cell)].join(' | ')} |`)
  const rule = `| --- |${' ---: |'.repeat(results.length)}`
  return `# To a million

Written by \`npm run bench:scale -- --write\` on ${new Date().toISOString().slice(0, 10)}, and never by hand.

${machine()}; Node ${process.version.slice(1)}. Each size with servers of its own, \`ebb serve --procs\`, as many as the descriptor limit
asks for, and as many processes that connect, all on this machine.

${[head, rule, ...rest].join('\n')}

- **anonymous**, **proportional**: of all servers and their supervisor together; **a connection**: hold above rest, by connection;
- **connect all**: until every client is connected; **accept all**: until the servers have told of every one of them, twenty times a
  second;
- **close all**: until the servers have told that nobody is left; **given back**: from then until anonymous memory is, and stays, within 5 %
  of rest;
- **kernel**: slab and socket buffers of both ends of each connection, the server's and the client's;
- **CPU**: what the processes were charged with while the crowd connected; what the kernel does for a connection between the two is charged to
  whoever is running.
${stops.length === 0 ? '' : `\n## What stopped it\n\n${stops.map((stop) => `- ${stop}`).join('\n')}\n`}`
}
