/** Describes a process for the header of its recording: command line, runtime and machine. */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { goVersion } from './go-version.js'

/** A runtime, such as Node or Go. */
export interface Runtime {
  /** Lower case: `node`, `go`, `python`. */
  name: string
  /** Null if it is not known. */
  version: string | null
}

/** A process and the machine that it runs on. */
export interface Description {
  /** Command line; null if `/proc/PID/cmdline` cannot be read. */
  command: string[] | null
  /** Null if it is not known. */
  runtime: Runtime | null
  /** Number of CPUs, bytes of memory, and architecture as Node names it (`x64`). */
  machine: { cpus: number; memory: number; arch: string }
  /** Kernel and its release: `Linux 6.1.0`. */
  kernel: string
}

/** Time for a program to answer `--version`, ms. */
const VERSION_TIMEOUT = 3000

/** Runtimes that are run with `--version`. No other program is ever executed. */
const ASKED = new Set(['node', 'bun', 'deno'])

/** Runtimes known by the name of their executable, with or without a version in it (`python3.11`). */
const KNOWN: [RegExp, string][] = [
  // Debian has nodejs, and versions side by side have node22 or node-22.
  [/^node(?:js)?[-\d.]*$/, 'node'],
  [/^python[\d.]*$/, 'python'],
  [/^ruby[\d.]*$/, 'ruby'],
  [/^perl[\d.]*$/, 'perl'],
  [/^php(?:-fpm|-cgi)?[\d.]*$/, 'php'],
  [/^java$/, 'java'],
  [/^beam(?:\.smp)?$/, 'erlang'],
  [/^dotnet$/, 'dotnet'],
  [/^nginx$/, 'nginx'],
  [/^haproxy$/, 'haproxy'],
  [/^envoy$/, 'envoy']
]

/**
 * Describes a process. Facts that cannot be found out are null. Does not throw if the process is hidden or has ended.
 */
export async function describe(pid: number): Promise<Description> {
  const command = commandOf(pid)
  return {
    command,
    runtime: await runtimeOf(pid, command),
    machine: { cpus: os.cpus().length, memory: os.totalmem(), arch: process.arch },
    kernel: `${os.type()} ${os.release()}`
  }
}

/** Options of runtimes whose value is the next word. */
const HAS_VALUE = /^(?:-r|-C|--require|--import|--loader|--experimental-loader|--conditions|--preload)$/

/** Options of runtimes that are followed by a program's source. */
const EVALUATES = /^(?:-e|--eval|--print)$/
/** A title that a program has put in the place of its command line: `nginx: master process nginx`. */
const TITLE = /^([\w.-]+): /

/** Returns a name for tables: the program, and its script if it is a runtime: `node server.js`. */
export function nameOf(pid: number, command: readonly string[] | null): string {
  const [program, ...rest] = command ?? []
  if (program === undefined) return `pid ${pid}`
  const title = TITLE.exec(program)?.[1]
  if (title !== undefined) return title
  const name = path.basename(program) || program
  if (!ASKED.has(name) && !KNOWN.some(([pattern]) => pattern.test(name))) return name
  const script = rest.find(
    (argument, i) =>
      EVALUATES.test(argument) ||
      (argument === '-c' && name.startsWith('python')) ||
      (!argument.startsWith('-') && argument !== 'run' && !HAS_VALUE.test(rest[i - 1] ?? ''))
  )
  return script === undefined ? name : `${name} ${path.basename(script)}`
}

/** Programs that start another program and wait for it. */
const WRAPPERS =
  /^(?:ash|bash|busybox|chroot|dash|doas|dumb-init|env|fish|ksh|make|mksh|nice|nohup|setsid|sh|strace|su|sudo|taskset|time|timeout|tini|xargs|zsh)$/
/** Package managers and process managers of Node, by their script or their process title (`npm start`). */
const MANAGERS =
  /^(?:npm|npx|pnpm|pnpx|yarn|yarnpkg|corepack|bunx|nodemon|tsx|pm2|pm2-runtime)(?:-cli)?(?:\.[cm]?js)?(?: |$)/

/** Whether a process only starts another program and waits for it, as shells and package managers do. */
export function isWrapper(pid: number): boolean {
  const [program = '', ...rest] = commandOf(pid) ?? []
  const name = path.basename(executableOf(pid) ?? program)
  if (WRAPPERS.test(name)) return true
  const script = ASKED.has(name) ? [program, rest.find((word) => !word.startsWith('-')) ?? ''] : []
  return script.some((word) => MANAGERS.test(path.basename(word)))
}

/** Returns the command line of a process; null if it has none, has ended or is hidden. */
export function commandOf(pid: number): string[] | null {
  try {
    const text = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    // A program may overwrite its command line with a title, padded with NULs. A zombie has no command line.
    const words = text.replace(/\0+$/, '').split('\0')
    return words[0] === '' ? null : words
  } catch {
    return null
  }
}

async function runtimeOf(pid: number, command: readonly string[] | null): Promise<Runtime | null> {
  const link = executableOf(pid)
  const name = path.basename(link ?? command?.[0] ?? '')
  if (ASKED.has(name)) return { name, version: link === null ? null : await askVersion(pid, link) }
  const known = KNOWN.find(([pattern]) => pattern.test(name))
  if (known) return { name: known[1], version: null }
  return link === null ? null : await goVersion(`/proc/${pid}/exe`)
}

/** Returns the path of the executable, or null if this user may not know it. */
function executableOf(pid: number): string | null {
  try {
    return fs.readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '')
  } catch {
    return null
  }
}

async function askVersion(pid: number, link: string): Promise<string | null> {
  if (path.basename(link) === 'node' && isSameFile(`/proc/${pid}/exe`, process.execPath)) return process.versions.node
  const user = userOf(pid)
  // A program of a container would load the libraries of this system.
  if (user === null || !isSameFile(`/proc/${pid}/root/`, '/')) return null
  return new Promise((resolve) => {
    execFile(
      // The file that the process runs, even if another file has its path by now.
      `/proc/${pid}/exe`,
      ['--version'],
      // Never with more rights than the process has: the file may be any program that somebody named `node`.
      { timeout: VERSION_TIMEOUT, killSignal: 'SIGKILL', maxBuffer: 65_536, env: {}, cwd: '/', ...user },
      (error, stdout) => resolve(error ? null : (/\d+\.\d+\.\d+[\w.+-]*/.exec(stdout)?.[0] ?? null))
    )
  })
}

/**
 * Returns the user and group to run the program as: empty for this process's own user, null if this process may not
 * start programs as that user. Reads the real user, because the owner of `/proc/PID` may be root for any process.
 */
function userOf(pid: number): { uid?: number; gid?: number } | null {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
    const [uid, gid] = [/^Uid:\s+(\d+)/m, /^Gid:\s+(\d+)/m].map((line) => Number(line.exec(status)?.[1] ?? Number.NaN))
    if (uid === undefined || gid === undefined || Number.isNaN(uid + gid)) return null
    if (uid === process.geteuid?.()) return {}
    return process.geteuid?.() === 0 ? { uid, gid } : null
  } catch {
    return null
  }
}

function isSameFile(a: string, b: string): boolean {
  try {
    const [left, right] = [fs.statSync(a), fs.statSync(b)]
    return left.ino === right.ino && left.dev === right.dev
  } catch {
    return false
  }
}
