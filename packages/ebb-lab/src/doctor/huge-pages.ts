/** Estimates how much memory transparent huge pages add to a process. */
import { readOrNothing } from './files.js'
import type { Mapping } from './mappings.js'
import type { Pages } from './pages.js'

/** Transparent huge pages of a process, bytes. */
export interface HugePages {
  /** Memory in huge pages (`AnonHugePages`). */
  bytes: number
  /**
   * Memory in huge pages that contains only zeros. The program has probably never written to it, and would not hold it
   * with small pages. An estimate from at most 64 of the pages.
   */
  empty: number
}

/** Huge pages that are looked into: 128 MB, which takes about 50 ms. */
const MOST_SAMPLES = 64
/** Size of a huge page if the kernel does not tell: that of x86-64, and of arm64 with small pages of 4 KiB. */
const DEFAULT_SIZE = 2_097_152
/** Positions of huge pages that are considered; each needs a look into the page map. */
const MOST_CANDIDATES = 4096

/** Estimates the empty part of huge pages. Returns undefined if there are none, or none can be read. */
export function hugePages(mappings: readonly Mapping[], pages: Pages): HugePages | undefined {
  const bytes = mappings.reduce((sum, { huge }) => sum + huge, 0)
  if (bytes === 0) return undefined
  const size = hugeSize()
  const candidates = candidatesOf(mappings, size)
  const step = Math.max(1, Math.floor(candidates.length / MOST_CANDIDATES))
  const huge = candidates.filter((at, i) => i % step === 0 && isHuge(pages, at, size))
  const stride = Math.max(1, Math.ceil(huge.length / MOST_SAMPLES))
  let [looked, empty] = [0, 0]
  const buffer = Buffer.alloc(size)
  const zeros = Buffer.alloc(pages.size)
  for (let i = 0; i < huge.length; i += stride) {
    if (pages.read(buffer, huge[i] as number) < size) continue
    looked += size
    for (let at = 0; at < size; at += pages.size) {
      if (buffer.compare(zeros, 0, zeros.length, at, at + zeros.length) === 0) empty += pages.size
    }
  }
  return looked === 0 ? undefined : { bytes, empty: Math.round((bytes * empty) / looked) }
}

/** Returns the addresses at which a mapping with huge pages may have one. */
function candidatesOf(mappings: readonly Mapping[], size: number): number[] {
  const found: number[] = []
  for (const { start, end, huge } of mappings) {
    if (huge === 0) continue
    for (let at = Math.ceil(start / size) * size; at + size <= end; at += size) found.push(at)
  }
  return found
}

/** Whether all small pages of a range are resident. They are in a huge page, and in few other cases. */
function isHuge(pages: Pages, at: number, size: number): boolean {
  return pages.residentBytes(at, at + size) === size
}

function hugeSize(): number {
  return Number(readOrNothing('/sys/kernel/mm/transparent_hugepage/hpage_pmd_size')) || DEFAULT_SIZE
}
