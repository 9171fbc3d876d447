/** Servers under test: starts one and finds out where it listens, or finds one that already runs. */
import { setTimeout as wait } from 'node:timers/promises'
import { readStat } from 'ebb/memory'
import { RecordError } from '../units/errors.js'
import { isWrapper } from './describe.js'
import { namespaceOf } from './forwarder.js'
import { type Launched, launch, marked } from './launch.js'
import {
  findListener,
  findRoot,
  hostListeningOn,
  type Listening,
  listeningFrom,
  listeningOf,
  listeningUnder
} from './listener.js'
import { keepStartupOutput } from './output.js'
import { freePorts } from './ports.js'
import { isDenied, isGone } from './sockets.js'

/** A server that is ready for pulses. */
export interface Running {
  /** The process to record: the one that listens, or the root of its tree. */
  pid: number
  /** Address that clients connect to. A server on every address is reached on `127.0.0.1`. */
  host: string
  /** TCP port on which the server listens. */
  port: number
  /** The command that {@link start} started; null for a server that ran already, which is not ours to stop. */
  launched: Launched | null
}

/** Options of {@link start}. Times are in milliseconds. */
export interface StartOptions {
  /** Stops waiting and ends the command. */
  signal?: AbortSignal | undefined
  /** Records the command and everything it starts as one, whichever of them listens. Default: false. */
  tree?: boolean
  /** Whether an error may advise `--tree`, because the caller offers it. Default: true. */
  hasTree?: boolean
  /** The port that `{port}` and `PORT` stand for. Default: a free one. */
  port?: number
  /**
   * Whether the server must listen on `port`, even if neither its command nor its environment contains `{port}`.
   * Default: false.
   */
  fixed?: boolean
  /** Working directory of the command. Default: this process's own. */
  cwd?: string
  /** Variables in addition to this process's environment. `{port}` in a value is replaced. */
  env?: Readonly<Record<string, string>>
  /** Time until the server must listen. Default: 30,000. */
  within?: number
  /**
   * Interval between two checks whether the server listens. Each check reads all processes of the machine. Default: 25.
   */
  look?: number
  /** Path of the `cgroup.procs` of a cgroup to start the command in. */
  cgroup?: string
}

const START_WITHIN = 30_000
const CHECK_INTERVAL = 25

/**
 * Starts a server and waits until it listens on TCP.
 *
 * Replaces `{port}` in the command and in `env` by a free port, and sets `PORT` to it. A server that chooses its own
 * port is found by the sockets of everything that the command started. `pid` is the process that listens, even behind a
 * shell, npm or a process manager.
 *
 * @throws RecordError if the command cannot be started (the errno), ended before it listened (`ESRCH`, with its
 *   output), did not listen in time (`ETIMEDOUT`), or listens with several processes (`EEXIST`)
 */
export async function start(command: readonly string[], options: StartOptions = {}): Promise<Running> {
  const { signal, tree = false, cwd, cgroup, within = START_WITHIN, look: checkInterval = CHECK_INTERVAL } = options
  signal?.throwIfAborted()
  const port = options.port ?? (await freePorts(1))[0]
  const texts = [...command, ...Object.values(options.env ?? {})]
  const isFixed = options.fixed === true || texts.some((text) => text.includes('{port}'))
  const fill = (text: string): string => text.replaceAll('{port}', String(port))
  const words = command.map(fill)
  const env = Object.fromEntries(Object.entries(options.env ?? {}).map(([name, value]) => [name, fill(value)]))
  const launched = await launch(words, {
    env: { ...process.env, PORT: String(port), ...env },
    ...(cwd !== undefined && { cwd }),
    ...(cgroup !== undefined && { cgroup })
  })
  const output = keepStartupOutput([launched.stdout, launched.stderr])
  let ended = false
  void launched.exited.then(() => {
    ended = true
  })
  const deadline = performance.now() + within
  try {
    for (;;) {
      const found = listeningFrom(launched).filter((listening) => !isFixed || listening.port === port)
      const [first] = found
      if (first !== undefined) {
        const listening = tree ? { ...first, pid: launched.pid } : onlyListener(found, first, options.hasTree)
        return { ...endpointOf(listening), launched }
      }
      // A command that starts a daemon ends before the daemon listens.
      if (ended && marked(launched.run).length === 0) {
        const { exitCode, signal: by } = await launched.exited
        const how = by ?? `exit code ${exitCode}`
        throw new RecordError(`${words.join(' ')} ended before it listened (${how})${output.quote()}`, 'ESRCH')
      }
      if (performance.now() > deadline) {
        const which = isFixed ? `port ${port}` : 'a TCP port'
        throw new RecordError(
          `${words.join(' ')} did not listen on ${which} within ${within / 1000} s: ` +
            `let it listen on {port}, or on the variable PORT${output.quote()}`,
          'ETIMEDOUT'
        )
      }
      await wait(checkInterval, undefined, signal === undefined ? {} : { signal })
    }
  } catch (error) {
    await launched.stop()
    throw error
  } finally {
    output.stop()
  }
}

/**
 * Finds a server that already runs, by pid or by port. By pid alone, it must listen on exactly one port. With `tree`,
 * the server is a process and everything it started, and any of them may listen. Behind a shell, npm or docker-proxy,
 * the process that serves is found.
 *
 * @throws RecordError: `ESRCH` if there is no such process or it does not listen, `EEXIST` if it listens on several
 *   ports, `EACCES` if it belongs to another user
 */
export function find(which: { pid?: number; port?: number; tree?: boolean }): Running {
  const { tree = false, port } = which
  const pid = which.pid ?? (tree ? findRoot : findListener)(port as number)
  const isWanted = (listening: Listening): boolean => port === undefined || listening.port === port
  let found = listeningOfProcess(pid, tree).filter(isWanted)
  if (found.length === 0 && !tree) found = listeningBelow(pid).filter(isWanted)
  const [first] = found
  if (first === undefined) {
    // The server runs in a container: its port here is another one there.
    const host = port !== undefined && namespaceOf(pid) !== namespaceOf('self') ? hostListeningOn(port) : undefined
    if (port !== undefined && host !== undefined) return { ...endpointOf({ pid, port, host }), launched: null }
    const where = port === undefined ? 'any TCP port of this network namespace' : `port ${port}`
    throw new RecordError(`process ${pid} does not listen on ${where}: give the --port of the server`, 'ESRCH')
  }
  const ports = new Set(found.map((listening) => listening.port))
  if (ports.size > 1) {
    throw new RecordError(`process ${pid} listens on ports ${[...ports].join(', ')}: give one with --port`, 'EEXIST')
  }
  return { ...endpointOf(first), pid: tree ? pid : first.pid, launched: null }
}

/**
 * Returns the process to record for a pid that a person gave: the server, if the process is a shell or a package
 * manager that started it and only waits for it, else the process itself.
 */
export function serverOf(pid: number): number {
  if (!isWrapper(pid)) return pid
  const [server, ...others] = new Set(listeningBelow(pid).map((listening) => listening.pid))
  return server === undefined || others.length > 0 ? pid : server
}

/** @throws RecordError (`ESRCH`) if there is no such process */
export function checkExists(pid: number): void {
  try {
    readStat(pid)
  } catch {
    throw noSuchProcess(pid)
  }
}

function noSuchProcess(pid: number): RecordError {
  return new RecordError(`there is no process ${pid}: check the pid (pgrep -a NAME), or give --port`, 'ESRCH')
}

/** Returns what the descendants of a process listen on, unless several of them listen or the process itself does. */
function listeningBelow(pid: number): Listening[] {
  const found = listeningOfProcess(pid, true)
  return new Set(found.map((listening) => listening.pid)).size === 1 ? found : []
}

function listeningOfProcess(pid: number, tree: boolean): Listening[] {
  try {
    return tree ? listeningUnder(pid) : listeningOf(pid)
  } catch (error) {
    if (isGone(error)) throw noSuchProcess(pid)
    if (!isDenied(error)) throw error
    throw new RecordError(`process ${pid} belongs to another user: run as that user or as root`, 'EACCES')
  }
}

/**
 * Checks that only one process listens on the port of a server that was started without `tree`. Call it once the server
 * has come to rest: workers begin to listen one after the other, and {@link start} may have seen only the first.
 *
 * @throws RecordError (`EEXIST`) if several processes listen on the port
 */
export function checkAlone({ port, launched }: Pick<Running, 'port' | 'launched'>, hasTree?: boolean): void {
  if (launched === null) return
  const found = listeningFrom(launched).filter((listening) => listening.port === port)
  const [first] = found
  // If the server has ended meanwhile, the recorder reports it.
  if (first !== undefined) onlyListener(found, first, hasTree)
}

/**
 * Returns `first`. Throws if other processes listen on its port too: their memory would be missing from every figure.
 */
function onlyListener(found: readonly Listening[], first: Listening, hasTree = true): Listening {
  const pids = new Set(found.filter(({ port }) => port === first.port).map(({ pid }) => pid))
  if (pids.size > 1) {
    const advice = `start the server with one worker${hasTree ? ', or add --tree for their sum' : ''}`
    throw new RecordError(
      `${pids.size} processes listen on port ${first.port}: ${[...pids].join(', ')}; ${advice}`,
      'EEXIST'
    )
  }
  return first
}

function endpointOf({ pid, port, host }: Listening): Omit<Running, 'launched'> {
  // A socket on `::` accepts IPv4 as well, unless it was told not to. 127.0.0.0/8 has more source addresses than ::1.
  return { pid, port, host: host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host }
}
