/** What `/proc/PID/stat` tells of who a process is. */
import fs from 'node:fs'

export interface Stat {
  /** `Z`, `X`: it has ended, and is not collected yet. */
  state: string
  parent: number
  group: number
  /** When it began, in the kernel's ticks since the machine did: tells it from a later one of its number. */
  began: string
}

/** Throws what `open(2)` and `read(2)` throw: `ENOENT`, `ESRCH` where there is no such process. */
export function statOf(pid: number): Stat {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
  // pid (comm) state ppid pgrp, and starttime as the 22nd: comm may hold blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] ?? '', parent: Number(fields[1]), group: Number(fields[2]), began: fields[19] ?? '' }
}
