/** `RESULTS.md`, written by the program alone, and the table of it that the README shows. */
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'

const OPEN = '<!-- bench: written by npm run bench -->'
const CLOSE = '<!-- /bench -->'

/**
 * `results`: the peers that were measured; `notes`: sentences about what went wrong or was left out.
 * `picture`: its path from the page.
 */
export function page({ table, results, plan, rounds, notes, absent, picture }) {
  const { big, iterations, small, pulses, linger } = plan
  const size = (n) => n.toLocaleString('en-US')
  return `# Beside its peers

Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}, and never by hand.

${machine()}. ${rounds === 1 ? 'One round' : `${rounds} rounds, medians`}; in a round one server after the other, in the next one the
other way round. Each: ${size(big)} connections ${iterations} times, then ${size(small)} ${pulses} times, held for ${linger / 1000} s; then the control.

![Anonymous and resident memory of each server over time, while the connections come and go](${picture})

${between(table)}

Anonymous memory (\`RssAnon\`), in MB of 10^6 bytes, if not said otherwise; the words are those of [the verdict](../docs/verdict.md).

- **at rest** before any connection; **peak** the highest seen; **footprint** a connection of the crowd's memory above rest;
- **kept** holding ${size(small)} after the crowds, **need** holding ${size(small)} in a process that never saw one, **retention** kept / need;
- **release** from the last close of a crowd until memory is back at need, for good;
- **CPU** of the server for a thousand connections made and closed; **connects** a second, from a client on the same machine;
- **resident** what \`top\` shows while the crowd is held;
- **PSS** the proportional memory of one of four copies on one machine, each holding ${size(small)}: a page that several map counts in parts; a
  quarter of the sum.

A footprint below zero is a server that held more at rest, from its start, than under the crowd.

## The servers

| server | what | version |
| --- | --- | --- |
${results.map(({ peer }) => `| ${peer.name} | ${peer.what} | ${versionOf(peer)} |`).join('\n')}

Each is a file in [peers/programs/](peers/programs): it accepts, reads and drops, closes. Its queue of connects is 4,096 long, where it can be told (Bun's is 512, and
one that is full costs a client a second). What a proxy has behind it, and who starts it, is in no figure.
${list('Left out', absent)}${list('Notes', notes)}`
}

/** `-` for a server that was measured elsewhere, and is not installed here. */
function versionOf(peer) {
  try {
    return peer.version()
  } catch {
    return '-'
  }
}

function list(heading, sentences) {
  return sentences.length === 0 ? '' : `\n## ${heading}\n\n${sentences.map((sentence) => `- ${sentence}`).join('\n')}\n`
}

/** The table as it stands in a page. */
function between(table) {
  return `${OPEN}\n${table}\n${CLOSE}`
}

/** Puts the table in the place of the one that the file has. */
export function replaceTable(file, table) {
  const text = readFileSync(file, 'utf8')
  const [from, to] = [text.indexOf(OPEN), text.indexOf(CLOSE)]
  if (from < 0 || to < from) throw new Error(`${file} has no place for the table: ${OPEN} and ${CLOSE} are missing`)
  writeFileSync(file, text.slice(0, from) + between(table) + text.slice(to + CLOSE.length))
}

/** This machine, in one phrase. */
export function machine() {
  const [{ model }] = cpus()
  return `${model.replace(/\s+/g, ' ').trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${type()} ${release()}`
}
