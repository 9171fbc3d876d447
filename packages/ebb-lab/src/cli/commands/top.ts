/** `ebb top`: shows the servers of this machine, their clients and their memory. */
import { Command, Option } from 'commander'
import { checkExists } from '../../process/target.js'
import { toJson } from '../../top/json.js'
import { SORT_KEYS, type SortKey, type View } from '../../top/rows.js'
import type { BoxSample } from '../../top/sample.js'
import { tableOf } from '../../top/table.js'
import { BoxWatch } from '../../top/watch.js'
import { parseServers } from '../options/top-servers.js'
import { parsePeriod } from '../options/values.js'
import { EXIT } from '../output/exit-codes.js'
import { columns, interruption } from '../output/terminal.js'

interface Flags {
  every: number
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
    .description('Show the servers of this machine: their clients, their memory, what they release.')
    .argument('[server...]', 'show these only: a pid (4711), a port (:3033), a part of the name (nginx)')
    .option('--every <time>', 'interval between samples (default: 2s)', parsePeriod, EVERY)
    .addOption(new Option('--sort <column>', 'column to sort by').choices(SORT_KEYS).default('anonymous'))
    .option('--reverse', 'sort the other way round')
    .option('--once', 'print one sample as text and end. Also done where there is no terminal')
    .option('--json', 'print each sample as a line of JSON')
    .action(run)
}

async function run(servers: string[], flags: Flags): Promise<void> {
  const { every, sort, reverse = false, json = false } = flags
  const options = parseServers(servers)
  for (const pid of options.pids ?? []) checkExists(pid)
  const view: View = { sort, reversed: reverse, filter: '', expanded: new Set() }
  const style = { unicode: writesUnicode() }
  const width = process.stdout.isTTY ? columns(process.stdout) : PLAIN_WIDTH
  const print = json
    ? (sample: BoxSample) => process.stdout.write(`${JSON.stringify(toJson(sample, view))}\n`)
    : (sample: BoxSample) => process.stdout.write(`${tableOf(sample, view, width, style).join('\n')}\n`)
  const { signal } = interruption()
  for await (const sample of new BoxWatch(options).samples(every, signal)) {
    print(sample)
    if (flags.once || !json) return
  }
  process.exitCode = EXIT.interrupted
}

/** Whether the locale's characters are those of Unicode. */
function writesUnicode(): boolean {
  const { LC_ALL, LC_CTYPE, LANG } = process.env
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}
