/** `ebb top`: shows the servers of this machine, their clients and their memory. */
import { Command, Option } from 'commander'
import type { LiveAddress } from '../../live/address.js'
import { checkExists } from '../../process/target.js'
import type { BoxSample } from '../../top/sample.js'
import { toJson } from '../../top/view/json.js'
import { SORT_KEYS, type SortKey, type View } from '../../top/view/rows.js'
import { tableOf } from '../../top/view/table.js'
import { BoxWatch } from '../../top/watch.js'
import { liveOption } from '../options/live.js'
import { parseServers } from '../options/top-servers.js'
import { parsePeriod, ValueError } from '../options/values.js'
import { EXIT } from '../output/exit-codes.js'
import { colours, columns, interruption, Terminal, whileWritable } from '../output/terminal.js'

interface Flags {
  every?: number
  sort: SortKey
  reverse?: boolean
  once?: boolean
  json?: boolean
  live?: LiveAddress
}

/** Columns of the table where there is no terminal. */
const PLAIN_WIDTH = 120
/** Default interval between samples, ms. */
const EVERY = 2000

/** Returns the command `ebb top`. */
export function topCommand(): Command {
  const command = new Command('top')
    .description('Show the servers of this machine: their clients, their memory, and what they release.')
    .argument('[server...]', 'show only these servers: a pid (4711), a port (:3033), or a part of the name (nginx)')
    .option('--every <time>', 'interval between samples (default: 2s)', parsePeriod)
    .addOption(new Option('--sort <column>', 'column to sort by').choices(SORT_KEYS).default('anonymous'))
    .option('--reverse', 'reverse the order')
    .option('--once', 'print one sample as text and end; the default where there is no terminal')
    .option('--json', 'print each sample as a line of JSON, until Ctrl-C')
  return liveOption(command, 'charts of the servers', '; name servers before it').action(run)
}

async function run(servers: string[], flags: Flags): Promise<void> {
  const { every = EVERY, sort, reverse = false, json = false, once = false, live } = flags
  if (once && live !== undefined) {
    throw new ValueError('--once ends after one sample, so nobody could open the page of --live: leave out one of them')
  }
  const options = parseServers(servers)
  for (const pid of options.pids ?? []) checkExists(pid)
  const view: View = { sort, reversed: reverse, filter: '', expanded: new Set() }
  const { signal } = interruption()
  const watch = new BoxWatch(options)
  const page = live === undefined ? null : await openPage(live, view)
  const samples = (ended: AbortSignal): AsyncIterable<BoxSample> =>
    page === null ? watch.samples(every, ended) : page.following(watch.samples(every, ended))
  try {
    if (isInteractive() && !once && !json) await showTable(samples, view, page?.url ?? null, signal)
    else if (json || page === null) await print(samples, view, { json, once, signal })
    else for await (const _ of samples(signal));
  } finally {
    await page?.end()
  }
}

/** Shows the table on the terminal until a person quits. */
async function showTable(
  samples: (ended: AbortSignal) => AsyncIterable<BoxSample>,
  view: View,
  page: string | null,
  signal: AbortSignal
): Promise<void> {
  const { showBox } = await import('../../top/view/show.js')
  const style = { unicode: writesUnicode(), colours: colours(process.stdout) }
  const end = await showBox({ samples, view, page, signal, ...style })
  if (end === 'interrupt') process.exitCode = EXIT.interrupted
}

/** Prints samples: one as text, one as JSON, or all as JSON until nobody reads them. */
async function print(
  samples: (ended: AbortSignal) => AsyncIterable<BoxSample>,
  view: View,
  { json, once, signal }: { json: boolean; once: boolean; signal: AbortSignal }
): Promise<void> {
  const width = process.stdout.isTTY ? columns(process.stdout) : PLAIN_WIDTH
  const style = { unicode: writesUnicode() }
  for await (const sample of samples(whileWritable(signal))) {
    const text = json ? JSON.stringify(toJson(sample, view)) : tableOf(sample, view, width, style).join('\n')
    process.stdout.write(`${text}\n`)
    if (once || !json) return
  }
  if (signal.aborted) process.exitCode = EXIT.interrupted
}

/** The live page, which follows the samples. */
interface FollowingPage {
  url: string
  /** Yields samples after the page has got them. */
  following(samples: AsyncIterable<BoxSample>): AsyncIterable<BoxSample>
  end(): Promise<void>
}

/** Serves the page and prints its URL. */
async function openPage(address: LiveAddress, { sort, reversed }: View): Promise<FollowingPage> {
  const [{ serveLive }, { TopRun }] = await Promise.all([
    import('../../live/server.js'),
    import('../../live/top-run.js')
  ])
  const run = new TopRun({ sort, reversed })
  const { url, update, end } = await serveLive(address, () => run.view())
  new Terminal().line(`Live page at ${url}`)
  return {
    url,
    async *following(samples) {
      for await (const sample of samples) {
        const isFirst = run.isEmpty
        run.addSample(sample)
        if (isFirst) update()
        yield sample
      }
    },
    end: async () => {
      run.finish()
      await end()
    }
  }
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
