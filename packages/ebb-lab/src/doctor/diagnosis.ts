/** What the doctor finds out about a process. Sizes are bytes, times milliseconds. */
import type { Prediction } from 'ebb/memory'
import type { CgroupUse } from './cgroup.js'
import type { Descriptors } from './descriptors.js'
import type { HugePages } from './huge-pages.js'
import type { NodeInside } from './inspector/answer.js'
import type { MallocUse } from './malloc.js'
import type { Part, Stack } from './parts.js'
import type { ProcessRuntime } from './runtime.js'
import type { Trend } from './trend.js'

/** The memory of a process as the kernel counts it. */
export interface MemoryTotals {
  /** Resident memory (`VmRSS`): the sum of the next three. */
  resident: number
  /** Resident memory with no file behind it (`RssAnon`). The anonymous memory of a verdict also has `swapped`. */
  anonymous: number
  /** Resident pages of mapped files and of shared memory (`RssFile` + `RssShmem`). */
  file: number
  /** Memory in swap, which `resident` does not count. */
  swapped: number
  /** Highest resident memory since the process started. */
  peak: number
  /** Page tables: memory of the kernel that maps the memory of the process. */
  pageTables: number
  /** The part of `anonymous` that is freed and that the kernel takes when it needs it (`MADV_FREE`). */
  lazy: number
  /** Pages of hugetlbfs, which `resident` does not count. */
  reserved: number
}

/** A piece of advice. */
export interface Advice {
  /** Name of the rule, such as `malloc-arenas`. It stays the same over versions. */
  code: string
  /** What to do. */
  text: string
  /** Why, with the figure. */
  reason: string
  /** The figure that the advice rests on. */
  figure: { name: string; value: number; unit: 'bytes' | 'count' | 'bytes per minute' }
  /** Where to read more. */
  source: string
}

/** The inside of a Node process, or why there is none. */
export interface InsideResult {
  inside: NodeInside | null
  /** Why there is no inside; null if there is one. */
  why: string | null
  /** Whether the process was asked through its inspector. */
  isInspected: boolean
  /** Remarks, one sentence each: what was opened in the process, and whether it is closed. */
  notes: string[]
}

/** A release that the doctor made the process do. */
export interface DoneRelease {
  /** Anonymous memory before and after, with what is in swap. */
  before: number
  after: number
  /** `before - after`. */
  returned: number
  /** The longest pause of the event loop. */
  stop: number
  /** What was predicted; null if nothing was. */
  predicted: Prediction | null
}

/** Where the memory of a process is, and what would bring it back. */
export interface Diagnosis {
  /** Version of this shape: 1. Fields may be added to it. */
  version: 1
  pid: number
  /** Program and script: `node server.js`. */
  name: string
  runtime: ProcessRuntime
  /** State of the process, one letter of proc_pid_stat(5): `S` sleeping, `T` stopped, ... */
  state: string
  memory: MemoryTotals
  /**
   * Parts of the resident memory, the largest first. Those of the group `anonymous` add up to `memory.anonymous`; what
   * no mapping explains is the part `unknown`.
   */
  parts: Part[]
  /** Number of mappings, and how many the kernel allows (`vm.max_map_count`). */
  mappings: { count: number; limit: number | null }
  /** Number of threads, and their stacks, the largest first. */
  threads: { count: number; stacks: Stack[] }
  /** What malloc of glibc has freed and not returned; null for another allocator, or if it cannot be read. */
  malloc: MallocUse | null
  /** Transparent huge pages; null if there are none, or they cannot be read. */
  hugePages: HugePages | null
  /** Null if this user may not see the descriptors. */
  descriptors: Descriptors | null
  /** Null if the process has no memory cgroup. */
  cgroup: CgroupUse | null
  /** How anonymous memory changed while it was watched; null if it was not. */
  trend: Trend | null
  /**
   * What a Node process reports about itself if it has loaded `ebb/auto`, or through its inspector, which knows less;
   * null if it reports nothing.
   */
  inside: NodeInside | null
  /**
   * Whether a Node process has loaded `ebb/auto`, also if it does not answer: it is busy, stopped, or in a container
   * with a network of its own.
   */
  hasAuto: boolean
  /** The release that the option `release` asked for; null without it. */
  release: DoneRelease | null
  /** What to do, the largest effect first. */
  advice: Advice[]
  /** Remarks, one sentence each: what could not be read, and why. */
  notes: string[]
}
