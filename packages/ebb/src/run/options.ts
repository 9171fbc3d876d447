/** The options of `ebb run`, from its command line. */
import { availableParallelism } from 'node:os'
import { isAbsolute, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { invalidArgument, shown } from '../sys/errors.js'
import { nearest } from '../sys/nearest.js'
import { LONGEST_SOCKET_PATH } from '../sys/sockaddr.js'
import { parseSize, parseTime } from './units.js'

/** What `ebb run` is to do. Times are ms, sizes are bytes. */
export interface RunOptions {
  /** Program and arguments of each process. */
  command: readonly string[]
  /** Whether a successor takes over at SIGHUP. */
  handover: boolean
  /** Whether idle connections outlive a process that is killed. */
  keep: boolean
  /**
   * Time that connections which are not at rest have when the service ends, before the others are put into systemd's
   * descriptor store; undefined: none are.
   */
  storeGrace: number | undefined
  /** Number of processes. */
  procs: number
  /** Anonymous memory at which a fresh process takes over; undefined: never. */
  maxMemory: number | undefined
  /** Time during which the memory must not have been lower. */
  memoryWindow: number
  /** Folder of the sockets; undefined: one of its own. */
  dir: string | undefined
  /** Time that a successor has until it is ready. */
  readyTimeout: number
  /** Time that a process has after a successor took over from it. */
  grace: number
  /** Time between SIGTERM and SIGKILL. */
  killAfter: number
  /** Restarts in a row of one process before all are ended. */
  maxRestarts: number
}

/** What a command line of `ebb run` asks for. */
export type Asked =
  | { asked: 'help' }
  | { asked: 'version' }
  | { asked: 'run'; options: RunOptions }
  /** Keepers for `procs` processes that something else starts, with their sockets in `dir`. */
  | { asked: 'keepers'; dir: string; procs: number }

const OPTIONS = {
  handover: { type: 'boolean' },
  keep: { type: 'boolean' },
  'keeper-only': { type: 'boolean' },
  store: { type: 'boolean' },
  'store-grace': { type: 'string' },
  procs: { type: 'string' },
  'max-memory': { type: 'string' },
  'memory-window': { type: 'string' },
  dir: { type: 'string' },
  'ready-timeout': { type: 'string' },
  grace: { type: 'string' },
  'kill-after': { type: 'string' },
  'max-restarts': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' }
} as const

export const HELP = `Usage: ebb run [options] -- command [arguments]
       ebb run --keeper-only --dir path [--procs n]

Runs a server, restarts it when it crashes, and replaces it by a new process
that takes over its connections.

Options:
  --handover             at SIGHUP, start a successor that takes over; the
                         program calls handover() of ebb
  --keep                 keep idle connections open over a crash of the program;
                         implies --handover
  --keeper-only          run no command: keep the connections of processes that
                         something else starts
  --store                keep idle connections open over "systemctl restart", in
                         systemd's descriptor store; implies --handover
  --store-grace time     time that connections in the middle of something have
                         to come to rest when the service ends (default: 5s)
  --procs n              number of processes, or "auto" for one per CPU
                         (default: 1)
  --max-memory size      take over by a fresh process when the program never
                         holds less memory than this, such as 500MB
  --memory-window time   time during which the memory must not have been lower
                         (default: 60s)
  --dir path             folder of the sockets (default: a folder of its own,
                         which is removed at the end)
  --ready-timeout time   time that a successor has until it is ready (default:
                         60s)
  --grace time           time that a process has to end after the takeover
                         (default: 60s)
  --kill-after time      time between SIGTERM and SIGKILL (default: 10s)
  --max-restarts n       restarts in a row before ebb run gives up, or
                         "unlimited" (default: 16)
  -h, --help             print this help
  -v, --version          print the version

Times are seconds, or have a unit: 250ms, 30s, 2m.

Signals:
  SIGHUP                 with --handover: start successors, one after the other;
                         without: passed on
  SIGTERM, SIGINT        end all processes; a second one kills them
  SIGQUIT                as SIGTERM
  SIGUSR1, SIGUSR2, SIGWINCH
                         passed on

Exit code: that of the program. 1 if ebb run itself failed, 126 or 127 if the
command cannot be run.
`

/**
 * Reads the arguments after `ebb run`. Options end at `--`, or at the first word that is no option.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE`
 */
export function readOptions(args: readonly string[]): Asked {
  const end = endOfOptions(args)
  const { values } = parse(args.slice(0, end))
  if (values.help === true) return { asked: 'help' }
  if (values.version === true) return { asked: 'version' }
  const command = args.slice(args[end] === '--' ? end + 1 : end)
  if (values['keeper-only'] === true) return keepersOf(values, command)
  if (command[0] === undefined || command[0] === '') {
    throw invalidArgument('ebb run needs a command: ebb run [options] -- node app.js')
  }
  const keep = values.keep === true
  const store = values.store === true
  const handover = keep || store || values.handover === true
  const memory = values['max-memory']
  if (memory !== undefined && !handover) {
    throw invalidArgument('--max-memory needs --handover: without it, a fresh process would lose every connection')
  }
  if (values['store-grace'] !== undefined && !store) throw invalidArgument('--store-grace needs --store')
  const time = (
    name: 'memory-window' | 'ready-timeout' | 'grace' | 'kill-after' | 'store-grace',
    fallback: number
  ): number => {
    const text = values[name]
    return text === undefined ? fallback : parseTime(text, `--${name}`)
  }
  return {
    asked: 'run',
    options: {
      command,
      handover,
      keep,
      storeGrace: store ? time('store-grace', 5000) : undefined,
      procs: parseProcs(values.procs),
      maxMemory: memory === undefined ? undefined : parseSize(memory, '--max-memory'),
      memoryWindow: time('memory-window', 60_000),
      dir: parseDir(values.dir),
      readyTimeout: time('ready-timeout', 60_000),
      grace: time('grace', 60_000),
      killAfter: time('kill-after', 10_000),
      maxRestarts: parseRestarts(values['max-restarts'])
    }
  }
}

type Values = ReturnType<typeof parse>['values']

/** @param command which there must not be */
function keepersOf(values: Values, command: readonly string[]): Asked {
  if (command.length > 0) throw invalidArgument('--keeper-only runs no command')
  const other = Object.keys(values).find((name) => !['keeper-only', 'dir', 'procs'].includes(name))
  if (other !== undefined) throw invalidArgument(`--${other} has no effect with --keeper-only`)
  const dir = parseDir(values.dir)
  if (dir === undefined) throw invalidArgument('--keeper-only needs --dir: the processes find its sockets there')
  return { asked: 'keepers', dir, procs: parseProcs(values.procs) }
}

/** Returns the index of the first argument that is neither an option nor the value of one. */
function endOfOptions(args: readonly string[]): number {
  let at = 0
  while (at < args.length) {
    const arg = args[at] as string
    if (arg === '--' || !arg.startsWith('-') || arg === '-') return at
    const name = arg.replace(/^--/, '')
    const takesValue = Object.hasOwn(OPTIONS, name) && OPTIONS[name as keyof typeof OPTIONS].type === 'string'
    at += takesValue ? 2 : 1
  }
  return Math.min(at, args.length)
}

function parse(args: readonly string[]): ReturnType<typeof parseArgs<{ options: typeof OPTIONS; args: string[] }>> {
  try {
    return parseArgs({ options: OPTIONS, args: [...args] })
  } catch (error) {
    const [, name = ''] = /'-{1,2}([^'\s=]+)/.exec((error as Error).message) ?? []
    if ((error as NodeJS.ErrnoException).code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
      const meant = nearest(name, Object.keys(OPTIONS))
      const remedy = meant === undefined ? 'run "ebb run --help"' : `did you mean --${meant}?`
      throw invalidArgument(`unknown option ${shown(name.length > 1 ? `--${name}` : `-${name}`)}: ${remedy}`)
    }
    const { type } = OPTIONS[name as keyof typeof OPTIONS] ?? { type: 'string' }
    throw invalidArgument(type === 'string' ? `--${name} needs a value` : `--${name} takes no value`)
  }
}

function parseProcs(text = '1'): number {
  if (text === 'auto') return availableParallelism()
  const procs = /^\d+$/.test(text) ? Number(text) : 0
  if (procs >= 1 && procs <= 1024) return procs
  throw invalidArgument(`--procs must be a whole number from 1 to 1024, or auto, not ${shown(text)}`)
}

function parseRestarts(text = '16'): number {
  if (text === 'unlimited') return Number.POSITIVE_INFINITY
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw invalidArgument(`--max-restarts must be a whole number from 0 on, or unlimited, not ${shown(text)}`)
}

/** Longest name of a socket that is made in the folder. */
const LONGEST_NAME = 'notify-4194304-1024-1000000.sock'.length

function parseDir(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const path = isAbsolute(text) ? text : resolve(text)
  const most = LONGEST_SOCKET_PATH - LONGEST_NAME - 1
  if (text !== '' && Buffer.byteLength(path) <= most) return path
  throw invalidArgument(
    `--dir must be a path of at most ${most} bytes, as the paths of Unix sockets are short, not ${shown(text)}`
  )
}
