/** Who a process is: what a recording's header says about it. */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Header } from '../record/recording.js'
import { goVersion } from './go-version.js'

/** The facts of a header that come from the process and its machine. */
export type Description = Pick<Header, 'command' | 'runtime' | 'machine' | 'kernel'>

/** For `--version` to answer, ms. */
const VERSION_TIMEOUT = 3000

/** Runtimes that are asked with `--version`. Nothing else is ever executed. */
const ASKED = new Set(['node', 'bun', 'deno'])

/** Programs that are known by the name of their executable, whatever version stands behind it (`python3.11`). */
const KNOWN: [RegExp, string][] = [
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

/** Describes a process. What cannot be told is null; never throws for a process that is hidden or has gone. */
export async function describe(pid: number): Promise<Description> {
  const command = commandOf(pid)
  return {
    command,
    runtime: await runtimeOf(pid, command),
    machine: { cpus: os.cpus().length, memory: os.totalmem(), arch: process.arch },
    kernel: `${os.type()} ${os.release()}`
  }
}

/** A name for tables: the program, and the script where the program runs one: `node server.js`. */
export function nameOf(pid: number, command: readonly string[] | null): string {
  const [program, ...rest] = command ?? []
  if (program === undefined) return `pid ${pid}`
  const name = path.basename(program) || program
  if (!ASKED.has(name) && !KNOWN.some(([pattern]) => pattern.test(name))) return name
  const script = rest.find((argument) => !argument.startsWith('-') && argument !== 'run')
  return script === undefined ? name : `${name} ${path.basename(script)}`
}

function commandOf(pid: number): string[] | null {
  try {
    const text = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    // A program may overwrite this with a title of its own, padded with NULs. A zombie has none.
    const words = text.replace(/\0+$/, '').split('\0')
    return words[0] === '' ? null : words
  } catch {
    return null
  }
}

async function runtimeOf(pid: number, command: readonly string[] | null): Promise<Header['runtime']> {
  const link = executableOf(pid)
  const name = path.basename(link ?? command?.[0] ?? '')
  if (ASKED.has(name)) return { name, version: link === null ? null : await askVersion(pid, link) }
  const known = KNOWN.find(([pattern]) => pattern.test(name))
  if (known) return { name: known[1], version: null }
  return link === null ? null : await goVersion(`/proc/${pid}/exe`)
}

/** Null where this user may not know. */
function executableOf(pid: number): string | null {
  try {
    return fs.readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, '')
  } catch {
    return null
  }
}

async function askVersion(pid: number, link: string): Promise<string | null> {
  if (path.basename(link) === 'node' && isSameFile(`/proc/${pid}/exe`, process.execPath)) return process.versions.node
  const user = ownerOf(pid)
  // In a container it would meet the libraries of another system.
  if (user === null || !isSameFile(`/proc/${pid}/root/`, '/')) return null
  return new Promise((resolve) => {
    execFile(
      // The very file that the process runs, even if another has taken its path since.
      `/proc/${pid}/exe`,
      ['--version'],
      // Never with more rights than the process has: the file may be anything that somebody called `node`.
      { timeout: VERSION_TIMEOUT, killSignal: 'SIGKILL', maxBuffer: 65_536, env: {}, cwd: '/', ...user },
      (error, stdout) => resolve(error ? null : (/\d+\.\d+\.\d+[\w.+-]*/.exec(stdout)?.[0] ?? null))
    )
  })
}

/**
 * Who started it, and is to be who asks: nothing to say for this process's own user, null where another's program may
 * not be started. The real user, not the owner of `/proc/PID`, which can be root for anybody's process.
 */
function ownerOf(pid: number): { uid?: number; gid?: number } | null {
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
