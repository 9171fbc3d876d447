/** Reads the memory mappings of a process, with what each holds, from `/proc/PID/smaps`. See proc_pid_smaps(5). */
import fs from 'node:fs'

/** A mapping of a process: a range of addresses and what is resident in it. Sizes are bytes. */
export interface Mapping {
  /** First address. Addresses above 2^53 are rounded; only the kernel has mappings there. */
  start: number
  /** The address after the last one. */
  end: number
  /** Permissions as the kernel writes them: `rw-p`. */
  access: string
  /** Mapped file, or a name in brackets such as `[heap]`; empty for memory without a name. */
  path: string
  /** Resident pages of any kind (`Rss`). */
  resident: number
  /** Resident pages with no file behind them (`Anonymous`), copies of a file's pages included. */
  anonymous: number
  /** The part of `anonymous` in huge pages (`AnonHugePages`). */
  huge: number
  /** The part of `resident` that the kernel may take at any time (`LazyFree`): freed with `MADV_FREE`. */
  lazy: number
  /** Pages in swap (`Swap`). */
  swapped: number
  /** Pages of hugetlbfs (`Private_Hugetlb` + `Shared_Hugetlb`), which `resident` does not count. */
  reserved: number
}

type Figure = 'resident' | 'anonymous' | 'huge' | 'lazy' | 'swapped' | 'reserved'

/** Lines that are read, by their label. */
const FIGURES: readonly [label: Buffer, figure: Figure][] = [
  [Buffer.from('Rss:'), 'resident'],
  [Buffer.from('Anonymous:'), 'anonymous'],
  [Buffer.from('AnonHugePages:'), 'huge'],
  [Buffer.from('LazyFree:'), 'lazy'],
  [Buffer.from('Swap:'), 'swapped'],
  [Buffer.from('Private_Hugetlb:'), 'reserved'],
  [Buffer.from('Shared_Hugetlb:'), 'reserved']
]

/** Bytes of a read. The kernel gives a page or so at a time, whatever the size of the buffer. */
const CHUNK = 65_536
const NEWLINE = 0x0a
const CAPITAL_A = 0x41
const CAPITAL_Z = 0x5a

/**
 * Reads all mappings, in the order of their addresses. The kernel walks the page tables of the process for it, which
 * takes some ms per GB; the process may run meanwhile.
 *
 * Throws the errors of `open(2)` and `read(2)`: `EACCES` for the process of another user. Returns none for a process
 * that is ending.
 */
export function readMappings(pid: number, file = `/proc/${pid}/smaps`): Mapping[] {
  const fd = fs.openSync(file, 'r')
  try {
    const mappings: Mapping[] = []
    let buffer = Buffer.alloc(CHUNK)
    let held = 0
    for (;;) {
      // A line is shorter than this, since a path has at most 4,096 bytes; the kernel escapes them fourfold at most.
      if (held === buffer.length) buffer = Buffer.concat([buffer, Buffer.alloc(CHUNK)])
      const count = fs.readSync(fd, buffer, held, buffer.length - held, null)
      if (count === 0) return mappings
      const filled = held + count
      let at = 0
      for (let end = buffer.indexOf(NEWLINE, held); end !== -1 && end < filled; end = buffer.indexOf(NEWLINE, at)) {
        addLine(mappings, buffer, at, end)
        at = end + 1
      }
      buffer.copyWithin(0, at, filled)
      held = filled - at
    }
  } finally {
    fs.closeSync(fd)
  }
}

function addLine(mappings: Mapping[], buffer: Buffer, at: number, end: number): void {
  const first = buffer[at] as number
  if (first < CAPITAL_A || first > CAPITAL_Z) {
    const mapping = headingOf(buffer.toString('utf8', at, end))
    if (mapping !== undefined) mappings.push(mapping)
    return
  }
  const mapping = mappings.at(-1)
  if (mapping === undefined) return
  for (const [label, figure] of FIGURES) {
    if (label[0] !== first || buffer.compare(label, 0, label.length, at, at + label.length) !== 0) continue
    mapping[figure] += kilobytes(buffer, at + label.length, end) * 1024
    return
  }
}

/** Returns a mapping without figures for its first line: `7f00-7f10 rw-p 00000000 00:00 0   [heap]`. */
function headingOf(line: string): Mapping | undefined {
  const match = /^([0-9a-f]+)-([0-9a-f]+) (\S+) [0-9a-f]+ \S+ \d+ *(.*)$/.exec(line)
  if (match === null) return undefined
  const [, start = '', end = '', access = '', path = ''] = match
  return {
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    access,
    path,
    resident: 0,
    anonymous: 0,
    huge: 0,
    lazy: 0,
    swapped: 0,
    reserved: 0
  }
}

/** Returns the decimal number of a line, without making a string. */
function kilobytes(buffer: Buffer, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) {
    const digit = (buffer[i] as number) - 0x30
    if (digit >= 0 && digit <= 9) value = value * 10 + digit
    else if (value > 0) break
  }
  return value
}
