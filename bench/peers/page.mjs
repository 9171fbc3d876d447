/** Writes bench/RESULTS.md, and the table between the markers of another page. */
import { readFileSync, writeFileSync } from 'node:fs'
import { machine } from '../harness/machine.mjs'
import { wrap } from '../harness/wrap.mjs'

/** @import { Plan } from 'ebb-lab' */
/** @import { Server } from '../harness/servers.mjs' */

const OPEN = '<!-- bench: written by npm run bench -->'
const CLOSE = '<!-- /bench -->'
/** Columns of the page's prose. */
const WIDTH = 116

/**
 * What the page shows.
 *
 * @typedef {object} Content
 * @property {string} table in Markdown
 * @property {readonly Server[]} servers the servers that were measured
 * @property {Plan} plan
 * @property {number} rounds
 * @property {readonly string[]} notes sentences about failures and limits
 * @property {readonly string[]} absent sentences about servers that were not measured
 * @property {string} picture its path relative to the page
 */

/**
 * Returns the page.
 *
 * @param {Content} content
 */
export function page({ table, servers, plan, rounds, notes, absent, picture }) {
  const { big, iterations, small, pulses, linger } = plan
  const size = (/** @type {number} */ n) => n.toLocaleString('en-US')
  const introduction = `${machine()}. ${roundsText(rounds)} Each server gets ${size(big)} connections
    ${iterations} times, then ${size(small)} connections ${pulses} times, held for ${linger / 1000} s each. Then the
    [control run](../docs/glossary.md#control) measures need.`
  return `# ebb compared with other servers

ebb and ${servers.length - 1} other servers run the same experiment on one machine: connections come, stay silent, and go.
\`npm run bench\` wrote this page on ${new Date().toISOString().slice(0, 10)}.

${wrap(introduction, WIDTH)}

![Anonymous and resident memory of each server over time, while the connections come and go](${picture})

${between(table)}

Unless the heading says otherwise, figures are anonymous memory (\`RssAnon\`) in MB of 10^6 bytes.
[The verdict](../docs/reference/verdict.md) describes each figure.

| column | meaning |
|---|---|
| at rest | memory before any connection |
| footprint | what one of the ${size(big)} connections adds to the memory at rest |
| peak | the highest value seen |
| kept | memory while holding ${size(small)} connections, after the pulses of ${size(big)} |
| need | memory while holding ${size(small)} connections, in a fresh process that never held ${size(big)} |
| retention | kept / need. 1.00 is perfect |
| release | [release time](../docs/glossary.md#release-time): from the close of the last ${size(big)} connections until memory is back at need and stays there. *never*: not before the recording ended |
| CPU | CPU time of the server for 1,000 connections made and closed |
| connects | connects per second, from a client on the same machine |
| resident | what \`top\` shows while the ${size(big)} connections are held |
| PSS | proportional memory per process, when four processes of the server run on one machine and each holds ${size(small)} connections. A page that several processes map is divided among them |

A footprint of *< 0* means that the server held more memory at rest, such as garbage of its startup, than with the
${size(big)} connections.

A rate of connects around 9,000 is a full accept queue, not a slow server:
[the verdict](../docs/reference/verdict.md#connects-per-second) explains it.

## The servers

| server | how it works | version |
| --- | --- | --- |
${servers.map((server) => `| ${server.name} | ${server.what} | ${versionOf(server)} |`).join('\n')}

Each server is a small program in [peers/programs/](peers/programs); the C server and the \`node:net\` server are in
[harness/servers/](harness/servers). A server accepts connections, reads and drops what they send, and closes them.
The backlog is 4,096 where it can be set. Bun's is 512. When a backlog is full, a client waits for one second before it
tries again. The figures do not include the server behind a proxy, or the process that starts a server.
${list('Left out', absent)}${list('Notes', notes)}`
}

/** @param {number} rounds */
function roundsText(rounds) {
  if (rounds === 1) return 'One round, in which the servers run one after the other.'
  return (
    `${rounds} rounds, medians. In each round, the servers run one after the other; every second round runs them in ` +
    'reverse order.'
  )
}

/**
 * Returns `-` for a server that was measured on another machine and is not installed here.
 *
 * @param {Server} server
 */
function versionOf(server) {
  try {
    return server.version()
  } catch {
    return '-'
  }
}

/**
 * @param {string} heading
 * @param {readonly string[]} sentences
 */
function list(heading, sentences) {
  return sentences.length === 0 ? '' : `\n## ${heading}\n\n${sentences.map((sentence) => `- ${sentence}`).join('\n')}\n`
}

/**
 * Returns the table between the markers.
 *
 * @param {string} table
 */
function between(table) {
  return `${OPEN}\n${table}\n${CLOSE}`
}

/**
 * Replaces the table between the markers of a page. Throws if the page has no markers.
 *
 * @param {string} file
 * @param {string} table
 */
export function replaceTable(file, table) {
  const text = readFileSync(file, 'utf8')
  const [from, to] = [text.indexOf(OPEN), text.indexOf(CLOSE)]
  if (from < 0 || to < from) throw new Error(`${file} has no place for the table: add the lines ${OPEN} and ${CLOSE}`)
  writeFileSync(file, text.slice(0, from) + between(table) + text.slice(to + CLOSE.length))
}
