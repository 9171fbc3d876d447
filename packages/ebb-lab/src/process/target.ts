/** A server under test: started by us and found by what it listens on, or already running. */
import { type AddressInfo, createServer, type Server } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { read } from '../record/follow.js'
import { codeOf, RecordError } from '../units/errors.js'
import { type Launched, launch } from './launch.js'
import { findListener, findRoot, type Listening, listeningIn, listeningOf, listeningUnder } from './listener.js'

/** A server that is ready for pulses. */
export interface Running {
  /** The process to record: the one that listens, or the root of its tree. */
  pid: number
  host: string
  port: number
  /** Null: not started by us, not ours to stop. */
  launched: Launched | null
}

export interface StartOptions {
  signal?: AbortSignal | undefined
  /** The command and all that it starts are recorded as one, whoever of them listens. Default: false. */
  tree?: boolean
  /** Whoever asks could ask for `tree`: it is said so where several processes listen. Default: true. */
  hasTree?: boolean
  /** In place of a free port that is looked for. */
  port?: number
  /** It is to listen on `port` and on no other, also when its command does not have it. Default: false. */
  fixed?: boolean
  cwd?: string
  /** Beside this process's own; `{port}` is replaced in it, too. */
  env?: Readonly<Record<string, string>>
  /** A server that does not listen after this many ms is given up. Default: 30,000. */
  within?: number
  /** From one look at what it listens on to the next, ms. Each looks at all processes of the machine. Default: 25. */
  look?: number
  /** The `cgroup.procs` of a cgroup to start it in. */
  cgroup?: string
}

const START_WITHIN = 30_000
const LOOK = 25

/**
 * Starts a server and waits until it listens on TCP.
 *
 * `{port}` in the command and in `env` is replaced by a free port, which is also its environment's `PORT`; a server that chooses its
 * own is found by the sockets of its process group. That process is recorded, whatever a shell or npm in front of it holds.
 *
 * @throws RecordError: it cannot be started, ended before it listened (with what it said), or did not listen in time
 */
export async function start(command: readonly string[], options: StartOptions = {}): Promise<Running> {
  const { signal, tree = false, cwd, cgroup, within = START_WITHIN, look = LOOK } = options
  signal?.throwIfAborted()
  const port = options.port ?? (await freePorts(1))[0]
  const told = [...command, ...Object.values(options.env ?? {})]
  const asked = options.fixed === true || told.some((word) => word.includes('{port}'))
  const filled = (text: string): string => text.replaceAll('{port}', String(port))
  const words = command.map(filled)
  const env = Object.fromEntries(Object.entries(options.env ?? {}).map(([name, value]) => [name, filled(value)]))
  const launched = await launch(words, {
    env: { ...process.env, PORT: String(port), ...env },
    ...(cwd !== undefined && { cwd }),
    ...(cgroup !== undefined && { cgroup })
  })
  const said = listenTo(launched)
  let ended = false
  void launched.exited.then(() => {
    ended = true
  })
  const deadline = performance.now() + within
  try {
    for (;;) {
      const found = listeningIn(launched.pid).filter((listening) => !asked || listening.port === port)
      const [first] = found
      if (first !== undefined) {
        const listening = tree ? { ...first, pid: launched.pid } : one(found, first, options.hasTree)
        return { ...where(listening), launched }
      }
      if (ended) {
        const { exitCode, signal: by } = await launched.exited
        const how = by ?? `exit code ${exitCode}`
        throw new RecordError(`${words.join(' ')} ended before it listened (${how})${said.quote()}`, 'ESRCH')
      }
      if (performance.now() > deadline) {
        const which = asked ? `port ${port}` : 'a TCP port'
        const time = `${within / 1000} s`
        throw new RecordError(
          `${words.join(' ')} did not listen on ${which} within ${time}${said.quote()}`,
          'ETIMEDOUT'
        )
      }
      await wait(look, undefined, signal === undefined ? {} : { signal })
    }
  } catch (error) {
    await launched.stop()
    throw error
  } finally {
    said.stop()
  }
}

/**
 * A server that runs already, by pid (which must listen on one port, or on `port`) or by port. With `tree`: the process and all that
 * it started, of which any may listen.
 */
export function find(which: { pid?: number; port?: number; tree?: boolean }): Running {
  const { tree = false } = which
  const pid = which.pid ?? (tree ? findRoot : findListener)(which.port as number)
  const found = listeningOfProcess(pid, tree).filter(({ port }) => which.port === undefined || port === which.port)
  const [first] = found
  if (first === undefined) {
    const where = which.port === undefined ? 'any TCP port of this network namespace' : `port ${which.port}`
    throw new RecordError(`process ${pid} does not listen on ${where}: give the --port of the server`, 'ESRCH')
  }
  const ports = new Set(found.map(({ port }) => port))
  if (ports.size > 1) {
    throw new RecordError(`process ${pid} listens on ports ${[...ports].join(', ')}: give one with --port`, 'EEXIST')
  }
  return { ...where(first), pid, launched: null }
}

function listeningOfProcess(pid: number, tree: boolean): Listening[] {
  try {
    return tree ? listeningUnder(pid) : listeningOf(pid)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'ESRCH') throw new RecordError(`there is no process ${pid}`, 'ESRCH')
    if (code !== 'EACCES' && code !== 'EPERM') throw error
    throw new RecordError(`process ${pid} is another user's: run as that user or as root`, 'EACCES')
  }
}

/**
 * To be asked once a server that was started without `tree` has come to rest: workers begin to listen one after the other, and the first
 * look may have found the first of them alone.
 *
 * @throws RecordError (`EEXIST`) when several processes listen on its port
 */
export function checkAlone({ port, launched }: Pick<Running, 'port' | 'launched'>, hasTree?: boolean): void {
  if (launched === null) return
  const found = listeningIn(launched.pid).filter((listening) => listening.port === port)
  const [first] = found
  // One that has ended meanwhile is noticed elsewhere.
  if (first !== undefined) one(found, first, hasTree)
}

/** Several processes behind one port are not one server's memory. */
function one(found: readonly Listening[], first: Listening, hasTree = true): Listening {
  const pids = new Set(found.filter(({ port }) => port === first.port).map(({ pid }) => pid))
  if (pids.size > 1) {
    throw new RecordError(
      `${pids.size} processes listen on port ${first.port}: ${[...pids].join(', ')}; start the server with one worker${hasTree ? ', or add --tree for their sum' : ''}`,
      'EEXIST'
    )
  }
  return first
}

function where({ pid, port, host }: Listening): Omit<Running, 'launched'> {
  // A socket on `::` takes IPv4 too, unless it was told not to, and 127.0.0.0/8 has more addresses to come from than ::1.
  return { pid, port, host: host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host }
}

/** Keeps the first lines that the server prints until it listens, for the sentence when it does not; what is kept is put back. */
function listenTo(launched: Launched): { quote(): string; stop(): void } {
  const kept = [launched.stdout, launched.stderr].map((stream) => {
    const chunks: Buffer[] = []
    const stop = read(stream, (chunk) => {
      if (chunks.length < 64) chunks.push(chunk)
    })
    return { stream, chunks, stop }
  })
  return {
    quote() {
      const words = Buffer.concat(kept.flatMap(({ chunks }) => chunks))
        .toString()
        .trim()
      return words === '' ? '' : `; it said: ${words.slice(0, 1000)}`
    },
    stop() {
      for (const { stream, chunks, stop } of kept) {
        stop()
        if (!stream.readableEnded && chunks.length > 0) stream.unshift(Buffer.concat(chunks))
      }
    }
  }
}

/** As many ports that nobody has. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listenAnywhere))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

async function listenAnywhere(): Promise<Server> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: 0, host: '127.0.0.1' }, resolve)
  })
  return server
}
