/** Writes bench/RESULTS.md, and the table between the markers of another page. */
import { readFileSync, writeFileSync } from 'node:fs'
import { machine } from '../harness/machine.mjs'

/** @import { Plan } from 'ebb-lab' */
/** @import { Server } from '../harness/servers.mjs' */

const OPEN = '<!-- bench: written by npm run bench -->'
const CLOSE = '<!-- /bench -->'

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
  return `# ebb beside other servers

\`npm run bench\` wrote this page on ${new Date().toISOString().slice(0, 10)}. Do not edit it by hand.

| | |
| --- | --- |
| machine | ${machine()} |
| pulses | ${size(big)} connections ${iterations} times, then ${size(small)} connections ${pulses} times |
| hold | ${linger / 1000} s |
| control | a second process of each server, which sees only the pulses of ${size(small)} |
| rounds | ${rounds === 1 ? '1' : `${rounds}, and the table shows medians`} |
| order | one server after the other; every second round reverses the order |

![Anonymous and resident memory of each server over time, while the connections come and go](${picture})

${between(table)}

Memory is anonymous memory (\`RssAnon\`) in MB of 10^6 bytes, unless a row below says otherwise. The words are those of
[the verdict](../docs/verdict.md).

| column | meaning |
| --- | --- |
| at rest | before any connection |
| footprint | memory of a connection above rest, while the server holds ${size(big)} |
| peak | the highest value of the run |
| kept | memory while the server holds ${size(small)} after the big pulses |
| need | memory while the control holds ${size(small)}; it never saw a big pulse |
| retention | kept / need |
| release | from the last close of a big pulse until memory is back at need and stays there |
| CPU | CPU time of the server for 1,000 connections made and closed |
| connects | connections per second, made by a client on the same machine |
| resident | what \`top\` shows while the server holds ${size(big)} |
| PSS | proportional memory of one of four copies on one machine, each holding ${size(small)}: a page that several processes map counts in parts |

A negative footprint means that the server held more memory at rest than with all connections open.

## The servers

| server | what | version |
| --- | --- | --- |
${servers.map((server) => `| ${server.name} | ${server.what} | ${versionOf(server)} |`).join('\n')}

The source of each server is in [peers/programs/](peers/programs) or [harness/servers/](harness/servers). Each server
accepts connections, reads and drops what they send, and closes them. Its backlog is 4,096 connections. Bun's is 512 and
cannot be changed; a client that meets a full backlog waits for a second. The figures of a proxy do not include the
server behind it.
${list('Left out', absent)}${list('Notes', notes)}`
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
