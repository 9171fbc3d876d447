/** A server under test: started by us and found by what it listens on, or already running. */
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { codeOf, RecordError } from '../record/errors.js'
import { type Launched, launch } from '../record/launch.js'
import { findListener, type Listening, listeningIn, listeningOf } from '../record/listener.js'

/** A server that is ready for pulses. */
export interface Running {
  /** The process that listens: the one to record. */
  pid: number
  host: string
  port: number
  /** Null: not started by us, not ours to stop. */
  launched: Launched | null
}

/** A server that does not listen after this many ms is given up. */
const START_TIMEOUT = 30_000
const LOOK = 25

/**
 * Starts a server and waits until it listens on TCP.
 *
 * `{port}` in the command is replaced by a free port, which is also its environment's `PORT`; a server that chooses its own is
 * found by the sockets of its process group. That process is recorded, whatever a shell or npm in front of it holds.
 *
 * @throws RecordError: it cannot be started, ended before it listened (with what it said), or did not listen in 30 s
 */
export async function start(command: readonly string[], signal?: AbortSignal): Promise<Running> {
  signal?.throwIfAborted()
  const port = await freePort()
  const asked = command.some((word) => word.includes('{port}'))
  const words = command.map((word) => word.replaceAll('{port}', String(port)))
  const launched = await launch(words, { env: { ...process.env, PORT: String(port) } })
  const said = listenTo(launched)
  let ended = false
  void launched.exited.then(() => {
    ended = true
  })
  const deadline = performance.now() + START_TIMEOUT
  try {
    for (;;) {
      const found = listeningIn(launched.pid).filter((listening) => !asked || listening.port === port)
      const [first] = found
      if (first !== undefined) return { ...where(one(found, first)), launched }
      if (ended) {
        const { exitCode, signal: by } = await launched.exited
        const how = by ?? `exit code ${exitCode}`
        throw new RecordError(`${words.join(' ')} ended before it listened (${how})${said.quote()}`, 'ESRCH')
      }
      if (performance.now() > deadline) {
        const which = asked ? `port ${port}` : 'a TCP port'
        throw new RecordError(`${words.join(' ')} did not listen on ${which} within 30 s${said.quote()}`, 'ETIMEDOUT')
      }
      await wait(LOOK, undefined, signal === undefined ? {} : { signal })
    }
  } catch (error) {
    await launched.stop()
    throw error
  } finally {
    said.stop()
  }
}

/** A server that runs already, by pid (which must listen on one port, or on `port`) or by port. */
export function find(which: { pid?: number; port?: number }): Running {
  const pid = which.pid ?? findListener(which.port as number)
  const found = listeningOfProcess(pid).filter(({ port }) => which.port === undefined || port === which.port)
  const [first] = found
  if (first === undefined) {
    const where = which.port === undefined ? 'any TCP port of this network namespace' : `port ${which.port}`
    throw new RecordError(`process ${pid} does not listen on ${where}: give the --port of the server`, 'ESRCH')
  }
  const ports = new Set(found.map(({ port }) => port))
  if (ports.size > 1) {
    throw new RecordError(`process ${pid} listens on ports ${[...ports].join(', ')}: give one with --port`, 'EEXIST')
  }
  return { ...where(first), launched: null }
}

function listeningOfProcess(pid: number): Listening[] {
  try {
    return listeningOf(pid)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'ESRCH') throw new RecordError(`there is no process ${pid}`, 'ESRCH')
    if (code !== 'EACCES' && code !== 'EPERM') throw error
    throw new RecordError(`process ${pid} is another user's: run as that user or as root`, 'EACCES')
  }
}

/** Several processes behind one port are not one server's memory. */
function one(found: readonly Listening[], first: Listening): Listening {
  const pids = new Set(found.filter(({ port }) => port === first.port).map(({ pid }) => pid))
  if (pids.size > 1) {
    throw new RecordError(
      `${pids.size} processes listen on port ${first.port}: ${[...pids].join(', ')}; start the server with one worker`,
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
  const kept: { stream: Launched['stdout']; chunks: Buffer[]; onData: (chunk: Buffer) => void }[] = []
  for (const stream of [launched.stdout, launched.stderr]) {
    const chunks: Buffer[] = []
    const onData = (chunk: Buffer): void => {
      if (chunks.length < 64) chunks.push(chunk)
    }
    stream.on('data', onData)
    kept.push({ stream, chunks, onData })
  }
  return {
    quote() {
      const words = Buffer.concat(kept.flatMap(({ chunks }) => chunks))
        .toString()
        .trim()
      return words === '' ? '' : `; it said: ${words.slice(0, 1000)}`
    },
    stop() {
      for (const { stream, chunks, onData } of kept) {
        stream.pause()
        stream.off('data', onData)
        if (!stream.readableEnded && chunks.length > 0) stream.unshift(Buffer.concat(chunks))
      }
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: 0, host: '127.0.0.1' }, resolve)
  })
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port')
  return address.port
}
