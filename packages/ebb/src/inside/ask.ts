/** Asks another process at its inside socket. */
import fs from 'node:fs'
import { readStat, TICK_MS } from '../proc/stat.js'
import { checkFromZero, checkObject, checkPid } from '../sys/arguments.js'
import { E } from '../sys/constants.js'
import type { ErrorCode } from '../sys/error-codes.js'
import { EbbError, errorName, invalidArgument, shown } from '../sys/errors.js'
import { connectToName } from '../sys/local-socket.js'
import { peerOf } from '../sys/peer.js'
import { lackOfReactor } from '../sys/reactor.js'
import { closeDescriptor } from '../sys/socket.js'
import { warnOfUnknown } from '../sys/unknown.js'
import type { InsideRelease, Question, Refusal } from './answer.js'
import { insideName, VERSION } from './name.js'
import type { Inside, InsideCounters } from './types.js'

/** Options of {@link askInside}, all optional. */
export interface AskOptions<Q extends Question = Question> {
  /**
   * What to ask: `inside`; `counters` for the part of it that costs little; or `release` to release memory of the
   * process. Default: `inside`.
   */
  ask?: Q
  /** Milliseconds after which there is no answer. A release of much memory takes seconds. Default: 5000. */
  timeout?: number
}

const NAMES = Object.keys({ ask: 0, timeout: 0 } satisfies Record<keyof AskOptions, 0>)
const QUESTIONS: readonly unknown[] = ['inside', 'counters', 'release'] satisfies Question[]

/** An answer that is no refusal. */
type Result = Inside | InsideCounters | InsideRelease

/** An answer is not longer than this many bytes. */
const LONGEST_ANSWER = 16_000_000
/**
 * Age (ms) of a process until which it may still open its inside socket, so that connecting is tried again: of one that
 * was started with `ebb/auto`, and of any other.
 */
const START = 5000
const SHORT_START = 700
/** Milliseconds between two tries. */
const RETRY = 20

/**
 * Asks a process that has loaded `ebb/auto` for its inside, or makes it release memory. It answers processes of its own
 * user and of root.
 *
 * ```ts
 * const { heap, servers } = await askInside(4242)
 * const { before, after, ms } = await askInside(4242, { ask: 'release', timeout: 30_000 })
 * ```
 *
 * @param pid process id, as this process sees it
 * @returns a promise, rejected with
 *
 * - `ESRCH`: there is no such process, or it is hidden
 * - `ERR_EBB_OTHER_USER`: it runs as another user
 * - `ERR_EBB_NO_INSIDE`: it has no inside socket that can be reached from here; the message says why
 * - `ERR_EBB_INSIDE_TIMEOUT`: it has not answered in time, because it is busy or stopped
 * - `ERR_EBB_INSIDE`: it has refused to answer, or its answer makes no sense
 * - `ERR_EBB_UNSUPPORTED`: the kernel cannot be called from here
 * - `ERR_INVALID_ARG_VALUE` for an invalid argument
 */
export function askInside(pid: number, options?: AskOptions<'inside'>): Promise<Inside>
export function askInside(pid: number, options: AskOptions<'counters'>): Promise<InsideCounters>
export function askInside(pid: number, options: AskOptions<'release'>): Promise<InsideRelease>
export async function askInside(pid: number, options: AskOptions = {}): Promise<Result> {
  checkPid(pid)
  checkObject(options, 'options of askInside()')
  warnOfUnknown(options, NAMES, 'askInside()')
  const { ask = 'inside', timeout = 5000 } = options
  if (!QUESTIONS.includes(ask))
    throw invalidArgument(`ask must be "inside", "counters" or "release", not ${shown(ask)}`)
  checkFromZero(timeout, 'timeout', 'ms')
  const lack = lackOfReactor()
  if (lack !== undefined) throw new EbbError('ERR_EBB_UNSUPPORTED', `askInside() cannot call the kernel here: ${lack}`)
  const deadline = performance.now() + timeout
  const status = readStatus(pid)
  const own = process.geteuid?.() ?? 0
  if (own !== 0 && own !== status.user) {
    throw new EbbError(
      'ERR_EBB_OTHER_USER',
      `process ${pid} runs as user ${status.user}, and this process as ${own}: ask as that user or as root`
    )
  }
  const fd = await connect(pid, insideName(status.innerPid), deadline)
  const line = await converse(fd, `${JSON.stringify({ ask, version: VERSION })}\n`, deadline, pid)
  return parse(line, pid)
}

interface Status {
  /** Effective user id. */
  user: number
  /** Process id, as the process itself sees it. */
  innerPid: number
  /** Whether it is stopped, by a signal or a debugger. */
  isStopped: boolean
}

function readStatus(pid: number): Status {
  let text: string
  try {
    text = fs.readFileSync(`/proc/${pid}/status`, 'latin1')
  } catch (error) {
    throw new EbbError('ESRCH', `there is no process ${pid}, or /proc hides it from this user`, error)
  }
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(text)?.[1] ?? ''
  return {
    user: Number(field('Uid').split('\t')[1] ?? 0),
    innerPid: Number(field('NSpid').split('\t').at(-1)) || pid,
    isStopped: /^[Tt]/.test(field('State'))
  }
}

/** Connects to the inside socket of a process, which may have just started. */
async function connect(pid: number, name: string, deadline: number): Promise<number> {
  for (;;) {
    const fd = connectToName(name)
    if (fd >= 0) return checked(fd, pid)
    const mayWork = fd === -E.EAGAIN || (fd === -E.ECONNREFUSED && ageOf(pid) < startOf(pid))
    if (!mayWork) throw noInside(pid, fd)
    if (performance.now() >= deadline) throw fd === -E.EAGAIN ? noAnswer(pid) : noInside(pid, fd)
    await new Promise((resolve) => setTimeout(resolve, RETRY))
  }
}

/** Checks by the kernel that `pid` itself listens, because any process may take any name. */
function checked(fd: number, pid: number): number {
  const peer = peerOf(fd)
  if (peer.pid === pid) return fd
  closeDescriptor(fd)
  const who = peer.pid === 0 ? 'a process of another container' : `process ${peer.pid}`
  throw new EbbError('ERR_EBB_NO_INSIDE', `the name of the inside socket of process ${pid} is taken by ${who}`)
}

/** Returns the age, ms, until which a process may still open its inside socket. */
function startOf(pid: number): number {
  const [command, environment] = ['cmdline', 'environ'].map((name) => {
    try {
      return fs.readFileSync(`/proc/${pid}/${name}`, 'latin1')
    } catch {
      return ''
    }
  })
  if (/(?:^|\0)EBB_INSIDE=(?:0|false|off)\0/.test(environment ?? '')) return 0
  return `${command}${environment}`.includes('ebb/auto') ? START : SHORT_START
}

/** Milliseconds since the start of a process; Infinity if it cannot be read. */
function ageOf(pid: number): number {
  try {
    const now = Number(fs.readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000
    return now - readStat(pid).startTime * TICK_MS
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

function noInside(pid: number, result: number): EbbError {
  const start = `process ${pid} has no inside socket`
  if (result !== -E.ECONNREFUSED) {
    return new EbbError('ERR_EBB_NO_INSIDE', `${start} that can be reached: ${errorName(-result)}`)
  }
  const [own, other] = ['self', pid].map(networkOf)
  if (other === undefined) readStatus(pid)
  const why =
    own !== other && other !== undefined
      ? `here: it is in another network namespace, as in a container; ask from there: nsenter -t ${pid} -n`
      : ': start it with ebb/auto and without EBB_INSIDE=0'
  return new EbbError('ERR_EBB_NO_INSIDE', `${start}${why.startsWith(':') ? '' : ' '}${why}`)
}

function networkOf(pid: number | string): string | undefined {
  try {
    return fs.readlinkSync(`/proc/${pid}/ns/net`)
  } catch {
    return undefined
  }
}

function noAnswer(pid: number): EbbError {
  const why = readStatus(pid).isStopped ? 'it is stopped: SIGCONT lets it go on' : 'its event loop is busy'
  return new EbbError('ERR_EBB_INSIDE_TIMEOUT', `process ${pid} has not answered in time: ${why}`)
}

/** Sends a question, and returns the answer. Closes the descriptor. */
function converse(fd: number, question: string, deadline: number, pid: number): Promise<string> {
  // Loaded when first needed, because few programs that release memory ask other processes.
  const { Socket } = process.getBuiltinModule('node:net')
  return new Promise((resolve, reject) => {
    const socket = new Socket({ fd, readable: true, writable: true })
    const parts: Buffer[] = []
    let length = 0
    const finish = (error?: Error): void => {
      clearTimeout(timer)
      socket.destroy()
      if (error === undefined) resolve(Buffer.concat(parts).toString())
      else reject(error)
    }
    const timer = setTimeout(() => {
      try {
        finish(noAnswer(pid))
      } catch (error) {
        finish(error as Error)
      }
    }, deadline - performance.now())
    socket.on('data', (part: Buffer) => {
      parts.push(part)
      length += part.length
      if (length > LONGEST_ANSWER) finish(refused(pid, `its answer has more than ${LONGEST_ANSWER} bytes`))
    })
    socket.on('end', () => finish())
    socket.on('error', (error) => finish(refused(pid, error.message)))
    socket.write(question)
  })
}

function refused(pid: number, why: string, code: ErrorCode = 'ERR_EBB_INSIDE'): EbbError {
  return new EbbError(code, `process ${pid} has not answered at its inside socket: ${why}`)
}

function parse(line: string, pid: number): Result {
  if (line === '') throw refused(pid, 'it closed the connection')
  let answer: Result | Refusal
  try {
    answer = JSON.parse(line) as Result | Refusal
  } catch {
    throw refused(pid, `this is not JSON: ${shown(line)}`)
  }
  if (typeof answer !== 'object' || answer === null) throw refused(pid, `this is no answer: ${shown(line)}`)
  if ('error' in answer) throw refused(pid, String(answer.error?.message))
  return answer
}
