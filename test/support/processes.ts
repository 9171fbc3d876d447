/** Reads processes from `/proc`. */
import { readdirSync, readFileSync } from 'node:fs'

/** Returns whether a process runs. A zombie does not. */
export function alive(pid: number): boolean {
  return stat(pid) !== undefined
}

/** Returns whether a process was stopped, by SIGSTOP. */
export function isStopped(pid: number): boolean {
  return stat(pid)?.state === 'T'
}

/** Returns the command line of a process, or an empty string. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim()
  } catch {
    return ''
  }
}

/** Returns the children of a process, their children, and so on. */
export function descendants(pid: number): number[] {
  const childrenOf = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const child = Number(name)
    const parent = Number.isInteger(child) ? stat(child)?.parent : undefined
    if (parent === undefined) continue
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), child])
  }
  const found: number[] = []
  for (const from of [pid]) collect(from)
  return found

  function collect(from: number): void {
    for (const child of childrenOf.get(from) ?? []) {
      found.push(child)
      collect(child)
    }
  }
}

/** Returns a field of `/proc/PID/status` in bytes. */
export function memoryOf(pid: number, field: 'VmRSS' | 'RssAnon'): number {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024
}

/** Returns the CPU time of a process in clock ticks. */
export function ticksOf(pid: number): number {
  const { user, system } = stat(pid) ?? { user: 0, system: 0 }
  return user + system
}

function stat(pid: number): { state: string; parent: number; user: number; system: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The format is `pid (comm) state ppid ...`, where comm may contain blanks and parentheses.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return {
      state: fields[0] as string,
      parent: Number(fields[1]),
      user: Number(fields[11]),
      system: Number(fields[12])
    }
  } catch {
    return undefined
  }
}
