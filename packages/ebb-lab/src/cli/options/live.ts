/** The options that serve a live page: `--live` and `--serve`. */
import type { Command } from 'commander'
import { LIVE_PORT, type LiveAddress } from '../../live/address.js'
import { parseListenAddress } from './watch.js'

/** Values of the options. */
export interface LiveFlags {
  live?: LiveAddress
  liveKeep?: boolean
}

/**
 * Adds `--live` to a command.
 *
 * @param what what the page has
 * @param more what else there is to say
 */
export function liveOption(command: Command, what: string, more = ''): Command {
  return command.option(
    '--live [address]',
    `serve a page with ${what}, at [HOST]:PORT (default: 127.0.0.1:${LIVE_PORT})${more}`,
    parseLiveAddress
  )
}

/** Adds the options of a run to a command. */
export function liveOptions(command: Command): Command {
  return liveOption(command, 'the charts while the run lasts').option(
    '--live-keep',
    'keep serving the page after the run, with the verdict, until Ctrl-C'
  )
}

/** Whether a command is to serve a page. */
export function hasLivePage({ live, liveKeep = false }: LiveFlags): boolean {
  return live !== undefined || liveKeep
}

/** Parses where to serve a page. Without an address, it is the first free port from the default on. */
export function parseLiveAddress(text: string): LiveAddress {
  if (text === '') return { host: '127.0.0.1', port: LIVE_PORT, isFlexible: true }
  return { ...parseListenAddress(text), isFlexible: false }
}

/** Options whose value may be left out. */
const OPTIONS = ['live', 'serve']
const ADDRESS = /^(?:\[[\da-fA-F:.]+\]|[\w.-]*):\d{1,5}$/

/**
 * Gives `--live` and `--serve` a value of their own if the next argument is not one, so that it is not taken for their
 * value: `ebb box --live box.yaml`. `ebb pulse` takes `HOST:PORT` for its server, so there only `:PORT` is a value.
 *
 * @param known long names of the command's options; the others are left as they were typed, for the error message
 */
export function liveValues(args: readonly string[], known: ReadonlySet<string>): string[] {
  const end = args.indexOf('--')
  const options = new Set(OPTIONS.filter((name) => known.has(name)).map((name) => `--${name}`))
  return args.map((arg, i) => {
    if (!options.has(arg) || (end !== -1 && i > end)) return arg
    const next = args[i + 1] ?? ''
    const isValue = args[0] === 'pulse' ? next.startsWith(':') && ADDRESS.test(next) : ADDRESS.test(next)
    return isValue ? arg : `${arg}=`
  })
}
