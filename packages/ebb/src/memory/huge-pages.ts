/**
 * Keeps the kernel from filling memory that a release has returned.
 *
 * Where huge pages are on for the heap, `khugepaged` looks for ranges of 2 MiB with at least one page in use, and makes
 * a huge page of each: by default also if the other 511 pages were returned (`max_ptes_none`). So mappings are marked
 * after a release. Huge pages that they have stay, and memory that the program maps later can have huge pages again.
 */
import { readFileSync } from 'node:fs'
import { refuseHugePages } from '../sys/malloc.js'

const FOLDER = '/sys/kernel/mm/transparent_hugepage'
/** Size of a huge page, bytes. */
const HUGE = 2 * 1024 * 1024
/** An anonymous mapping that can be written to: start and end. */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) rw-p 00000000 00:00 0 *(?:\[heap\])?$/gm

let isFilled: boolean | undefined

/** Marks all memory of this process as it is now, if the kernel would fill what was returned. Takes about 1 ms. */
export function keepReturned(): void {
  isFilled ??= fillsReturned()
  if (!isFilled) return
  // Neighbours together: the mappings of a heap differ in what was asked for when it grew.
  let [first, last] = [0, 0]
  for (const [, start = '', end = ''] of readText('/proc/self/maps').matchAll(MAPPING)) {
    const from = Number.parseInt(start, 16)
    if (from !== last) {
      mark(first, last)
      first = from
    }
    last = Number.parseInt(end, 16)
  }
  mark(first, last)
}

function mark(first: number, last: number): void {
  if (Math.ceil(first / HUGE) < Math.floor(last / HUGE)) refuseHugePages(first, last - first)
}

/** Whether `khugepaged` makes huge pages of ranges that are not in use as a whole. */
function fillsReturned(): boolean {
  const mode = /\[(\w+)\]/.exec(readText(`${FOLDER}/enabled`))?.[1]
  const isOn =
    mode === 'always' || (mode === 'madvise' && /glibc\.malloc\.hugetlb=1/.test(process.env.GLIBC_TUNABLES ?? ''))
  return isOn && readText(`${FOLDER}/khugepaged/max_ptes_none`).trim() !== '0'
}

/** Returns an empty text for a file that cannot be read. */
function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
