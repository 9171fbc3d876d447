/** `ebb top`: shows the servers of this machine, their clients and their memory. */
import { Command, Option } from 'commander'
import { checkExists } from '../../process/target.js'
import { toJson } from '../../top/view/json.js'
import { SORT_KEYS, type SortKey, type View } from '../../top/view/rows.js'
import { tableOf } from '../../top/view/table.js'
import { BoxWatch } from '../../top/watch.js'
import { parseServers } from '../options/top-servers.js'
import { parsePeriod } from '../options/values.js'
import { EXIT } from '../output/exit-codes.js'
import { colours, columns, interruption } from '../output/terminal.js'

interface Flags {
  every?: number
  sort: SortKey
  reverse?: boolean
  once?: boolean
  json?: boolean
}

/** Columns of the table where there is no terminal. */
const PLAIN_WIDTH = 120
/** Default interval between samples, ms. */
const EVERY = 2000

/** Returns the command `ebb top`. */
export function topCommand(): Command {
  return new Command('top')
    .description('Show the servers of this machine: their clients, their memory, and what they release.')
    .argument('[server...]', 'show only these servers: a pid (4711), a port (:3033), or a part of the name (nginx)')
    .option('--every <time>', 'interval between samples (default: 2s)', parsePeriod)
    .addOption(new Option('--sort <column>', 'column to sort by').choices(SORT_KEYS).default('anonymous'))
    .option('--reverse', 'reverse the order')
    .option('--once', 'print one sample as text and end; the default where there is no terminal')
    .option('--json', 'print each sample as a line of JSON, until Ctrl-C')
    .action(run)
}

async function run(servers: string[], flags: Flags): Promise<void> {
  const { every = EVERY, sort, reverse = false, json = false } = flags
  const options = parseServers(servers)
  for (const pid of options.pids ?? []) checkExists(pid)
  const view: View = { sort, reversed: reverse, filter: '', expanded: new Set() }
  const style = { unicode: writesUnicode() }
  const { signal } = interruption()
  const watch = new BoxWatch(options)
  if (isInteractive() && !flags.once && !json) {
    const { showBox } = await import('../../top/view/show.js')
    const samples = (ended: AbortSignal) => watch.samples(every, ended)
    const end = await showBox({ samples, view, colours: colours(process.stdout), signal, ...style })
    if (end === 'interrupt') process.exitCode = EXIT.interrupted
    return
  }
  const width = process.stdout.isTTY ? columns(process.stdout) : PLAIN_WIDTH
  for await (const sample of watch.samples(every, signal)) {
    const text = json ? JSON.stringify(toJson(sample, view)) : tableOf(sample, view, width, style).join('\n')
    process.stdout.write(`${text}\n`)
    if (flags.once || !json) return
  }
  process.exitCode = EXIT.interrupted
}

/** Whether keys can be read and lines can be drawn over. */
function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true && process.env.TERM !== 'dumb'
}

/** Whether the locale's characters are those of Unicode. */
function writesUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = process.env
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}
